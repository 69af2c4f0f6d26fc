"""The engine beside the networks: the mirror image by hand, the features by numpy, and what is said of both."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch

from Engine.conftest import seasoned, seasoned_cascade
from Engine.made_images import blob
from upgan.bundles.bundle import Bundle
from upgan.images.volume import Volume
from upgan.inference.engine import InferenceEngine
from upgan.networks.features import FeatureTap
from upgan.networks.folding import fold_batch_norm
from upgan.networks.published import PublishedArchitecture, PublishedCascade
from upgan.uncertainty.familiarity import Familiarity, Limits, SliceFeatures

SHAPE = (6, 32, 48)  # at the model's 2 mm, so that nothing is padded on one side more than on the other
LPS = np.diag([-2.0, -2.0, 2.0, 1.0])


def volume(**changes) -> Volume:
    """An uneven image: its left is not its right."""
    return Volume(blob(SHAPE) * np.random.default_rng(2).uniform(0.5, 1, SHAPE).astype(np.float32), LPS, **changes)


def translate(bundle, image, **options):
    return InferenceEngine(bundle, "cpu", "float32").translate(image, **options)


def knowing(bundle: Bundle, familiarity: Familiarity | None) -> Bundle:
    section = bundle.metadata.upgan.model_copy(update={"familiarity": familiarity})
    return dataclasses.replace(bundle, metadata=bundle.metadata.model_copy(update={"upgan": section}))


@pytest.mark.parametrize(
    ("plane", "axes", "patient_left"),
    # Stored so that the patient's left is along I, J and K.
    [("axial", (0, 1, 2), 2), ("coronal", (0, 2, 1), 1), ("axial", (2, 1, 0), 0)],
)
def test_the_epistemic_map_is_what_the_mirror_image_by_hand_differs_by(tiny_bundle, plane, axes, patient_left):
    image = volume()
    columns = [0, 1, 2, 3]
    for index, axis in enumerate(axes):  # K, J, I are columns 2, 1, 0
        columns[2 - index] = 2 - axis
    stored = Volume(image.voxels.transpose(axes), image.ijk_to_ras[:, columns])
    mirrored = Volume(np.flip(stored.voxels, patient_left).copy(), stored.ijk_to_ras)
    plain = translate(tiny_bundle, stored, plane=plane)
    found = translate(tiny_bundle, stored, plane=plane, epistemic=True)
    for name in ("image", "alpha", "beta"):
        np.testing.assert_array_equal(getattr(found.last, name), getattr(plain.last, name))
    other = np.flip(translate(tiny_bundle, mirrored, plane=plane).last.image, patient_left)
    expected = np.std([plain.last.image, other], axis=0, ddof=1)
    assert expected.max() > 1  # HU
    np.testing.assert_allclose(found.epistemic, expected, atol=1e-2)
    assert plain.epistemic is None
    outputs = [(output.name, output.phase, output.unit) for output in found.outputs(["image", "epistemic"])]
    assert outputs == [("pseudo_ct", 2, "HU"), ("epistemic", 2, "HU")]
    assert "epistemic" not in [output.name for output in plain.outputs()]


def test_sagittal_slices_have_no_mirror_image_which_is_said(tiny_bundle):
    found = translate(tiny_bundle, volume(), plane="sagittal", epistemic=True)
    assert found.epistemic is None
    assert [sentence for sentence in found.provenance["warnings"] if "sagittal" in sentence]
    assert [output.name for output in found.outputs(["epistemic"])] == []


def test_progress_goes_through_the_mirror_image_too(tiny_bundle):
    told = []
    translate(tiny_bundle, volume(), epistemic=True, progress=told.append)
    assert [(done.phase, done.mirrored, done.fraction) for done in told] == [
        (1, False, 0.25),
        (2, False, 0.5),
        (1, True, 0.75),
        (2, True, 1.0),
    ]


def test_features_are_the_means_over_the_object_of_what_the_first_network_has_in_its_second_decoder(tiny_bundle):
    image = volume()
    architecture = tiny_bundle.metadata.upgan.architecture.model_copy(update={"margin_mm": None})
    section = tiny_bundle.metadata.upgan.model_copy(update={"architecture": architecture})
    sees_all = replace(tiny_bundle, metadata=tiny_bundle.metadata.model_copy(update={"upgan": section}))
    engine = InferenceEngine(sees_all, "cpu", "float32")
    found = engine.slice_features(image)
    reference = engine.translate(image).reference
    kept = []
    network = tiny_bundle.load_cascade()
    network.generators[0].body.decoder[1].register_forward_hook(lambda module, seen, made: kept.append(made))
    normalised = np.sqrt(image.voxels / reference)
    with torch.inference_mode():
        next(network.phases(torch.from_numpy(normalised)[:, None]))
    features = kept[0].numpy().astype(float)
    is_object = image.voxels > reference / 16
    share = is_object.reshape(6, 8, 4, 12, 4).mean(axis=(2, 4))  # of each of the level's pixels
    pixels = share.sum(axis=(1, 2))[:, None]
    expected = (features * share[:, None]).sum(axis=(2, 3)) / np.where(pixels > 0, pixels, 1)
    assert found.means.shape == (6, 4)
    np.testing.assert_allclose(found.means, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.pixels, is_object.sum(axis=(1, 2)))
    for batch in (1, 4):
        engine.batch = batch
        np.testing.assert_allclose(engine.slice_features(image).means, found.means, rtol=1e-4, atol=1e-5)


def test_wide_and_published_networks_have_features_and_at_most_32():
    torch.manual_seed(1)
    a = torch.rand(2, 1, 32, 32)
    for network, count in (
        (seasoned(PublishedCascade(PublishedArchitecture(chains=(2, 1), width=2))), 4),
        (seasoned_cascade(phases=1, width=20), 32),
    ):
        folded = fold_batch_norm(network)
        tap = FeatureTap(folded)
        with torch.inference_mode():
            tap.open()
            next(folded.phases(a))
            means, pixels = tap.take(a, 0.25)
            next(folded.phases(a))
            assert tap.take(a, 0.25) is None  # not opened again
        assert means.shape == (2, count)
        np.testing.assert_array_equal(pixels, (a > 0.25).sum((1, 2, 3)))


def test_the_provenance_has_the_verdict_and_warns_of_what_is_unlike(tiny_bundle):
    image = volume()
    engine = InferenceEngine(tiny_bundle, "cpu", "float32")
    assert engine.translate(image, epistemic=True).provenance["familiarity"] is None
    seen = engine.slice_features(image)
    jitter = np.random.default_rng(1).normal(0, 0.05, (20, *seen.means.shape))
    training = [SliceFeatures(seen.means * (1 + one), seen.pixels) for one in jitter]
    known = Familiarity.measure(training)
    for limit, is_unlike in ((2.0, False), (0.001, True)):
        limited = known.model_copy(update={"limits": Limits(subjects=3, features=limit, flip=1e6)})
        found = translate(knowing(tiny_bundle, limited), image, epistemic=True)
        verdict = found.provenance["familiarity"]
        assert verdict["is_unlike"] is is_unlike
        assert (verdict["sentence"] in found.provenance["warnings"]) is is_unlike
        assert verdict["scores"]["features"] == pytest.approx(known.score(seen), rel=1e-3)
        is_object = image.voxels > found.reference / 16
        expected = found.epistemic[is_object].mean() / found.last.sigma[is_object].mean()
        assert verdict["scores"]["flip"] == pytest.approx(expected, rel=1e-4)
    plain = translate(knowing(tiny_bundle, limited), image)
    assert plain.provenance["familiarity"]["scores"]["flip"] is None
