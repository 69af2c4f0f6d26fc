"""Several models as one: against each of them alone, and against the laws for mixtures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from Engine.conftest import IdentityBundle, IdentityCascade
from Engine.made_images import blob, code_of
from upgan.bundles.bundle import BundleMetadata
from upgan.bundles.domain import Domain
from upgan.errors import Cancelled
from upgan.images.volume import Volume
from upgan.inference import ensemble as module
from upgan.inference import memory
from upgan.inference.engine import InferenceEngine
from upgan.inference.ensemble import Ensemble
from upgan.inference.estimate import estimate, together
from upgan.tasks import MRI_MOTION, PET_TO_CT
from upgan.uncertainty.distribution import GeneralizedNormal

SHAPE = (4, 32, 48)


class Biased(IdentityCascade):
    """Its image is its input times a factor, which grows from phase to phase; its β is its own."""

    def __init__(self, factor: float, phases: int) -> None:
        super().__init__(phases)
        self.factor = factor

    def phases(self, a):
        for phase, known in enumerate(super().phases(a), start=1):
            image = phase * self.factor * known.loc
            yield GeneralizedNormal(image, known.scale * self.factor, torch.full_like(a, 1 + self.factor))


def model(name: str, factor: float, phases: int = 2, width: int = 1, **section) -> IdentityBundle:
    """A bundle of that cascade, without files."""
    said = {"architecture": {"name": "up-gan", "phases": phases, "width": width}, "task": PET_TO_CT}
    said |= {"spacing_mm": (2.0, 2.0), "sha256": {"models/model.safetensors": name.encode().hex().ljust(64, "0")}}
    stated = {"name": name, "version": "1.2.3", "description": "", "upgan": said | section}
    return IdentityBundle(Path(), BundleMetadata.model_validate(stated), Biased(factor, phases))


@pytest.fixture
def volume():
    return Volume(blob(SHAPE), np.diag([-2.0, -2.0, 2.0, 1.0]), "PT")


@pytest.fixture
def tiny():
    return model("tiny", 1.0)


@pytest.fixture
def other():
    """A model with as many phases as the tiny one, and another opinion."""
    return model("other", 0.7)


@pytest.fixture
def deep():
    return model("companion", 0.8, phases=3, width=3)


def alone(bundle, volume, **options):
    return InferenceEngine(bundle, "cpu", "float32").translate(volume, **options)


def as_one(bundles, volume, **options):
    return Ensemble(bundles, "cpu", "float32").translate(volume, **options)


def test_image_variance_and_disagreement_are_those_of_the_members(tiny, other, volume):
    found = as_one([tiny, other], volume, phases="all")
    members = [alone(bundle, volume, phases="all") for bundle in (tiny, other)]
    assert sorted(found.phases) == [1, 2]
    for phase, maps in found.phases.items():
        images = np.array([member.phases[phase].image for member in members], dtype=np.float64)
        variances = np.array([member.phases[phase].sigma for member in members], dtype=np.float64) ** 2
        assert images.std(axis=0).max() > 10  # HU: they do disagree
        np.testing.assert_allclose(maps.image, images.mean(axis=0), atol=1e-3)
        np.testing.assert_allclose(maps.sigma**2, variances.mean(axis=0) + images.var(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found.epistemic, images.std(axis=0, ddof=1), rtol=1e-4, atol=1e-3)
    assert found.epistemic.dtype == found.last.alpha.dtype == np.float32


def test_a_model_beside_itself_gives_its_own_numbers_and_is_told_to_prove_nothing(tiny, volume):
    single = alone(tiny, volume)
    found = as_one([tiny] * 3, volume)
    np.testing.assert_array_equal(found.last.image, single.last.image)
    for name in ("alpha", "beta", "sigma"):
        np.testing.assert_allclose(getattr(found.last, name), getattr(single.last, name), rtol=1e-5)
    assert not found.epistemic.any()
    (warning,) = found.provenance["warnings"]
    assert "same weights" in warning


def test_the_order_of_the_models_does_not_matter(tiny, other, volume):
    one, another = (as_one(models, volume) for models in ([tiny, other], [other, tiny]))
    for name in ("image", "alpha", "beta"):
        np.testing.assert_array_equal(getattr(one.last, name), getattr(another.last, name))
    assert one.provenance["members"] == another.provenance["members"]


def test_models_of_different_depth_are_taken_by_their_last_phases(tiny, deep, volume):
    found = as_one([tiny, deep], volume, phases="all")
    assert list(found.phases) == [3]
    assert any("different numbers of phases" in sentence for sentence in found.provenance["warnings"])
    images = [alone(bundle, volume).last.image for bundle in (tiny, deep)]
    np.testing.assert_allclose(found.last.image, np.mean(images, axis=0), atol=1e-3)


@pytest.mark.parametrize(
    ("section", "code"),
    [
        ({"task": MRI_MOTION.model_dump()}, "different_models"),
        ({"task": PET_TO_CT.model_copy(update={"unit": "kHU"}).model_dump()}, "different_models"),
        ({"plane": "coronal"}, "different_models"),
        (None, "one_model"),
    ],
    ids=["task", "unit", "plane", "one"],
)
def test_models_that_do_not_belong_together_are_refused(tiny, section, code):
    others = [model("stranger", 1.0, **section)] if section else []
    assert code_of(lambda: Ensemble([tiny, *others], "cpu")) == code


def test_the_provenance_names_every_member_with_its_hash_and_is_json(tiny, other, volume):
    found = json.loads(json.dumps(as_one([tiny, other], volume, source="scan.nii").provenance))
    assert found["bundle"] == "other + tiny"
    assert "bundle_sha256" not in found  # it is no single model
    said = {member["bundle"]: (member["bundle_version"], member["bundle_sha256"]) for member in found["members"]}
    assert said == {bundle.metadata.name: ("1.2.3", bundle.sha256) for bundle in (tiny, other)}
    single = alone(tiny, volume, source="scan.nii").provenance
    for key in ("engine", "task", "plane", "precision", "device", "source", "input_sha256", "placement"):
        assert found[key] == single[key]


def test_what_one_model_alone_finds_odd_is_said_with_its_name(tiny, volume):
    larger = Volume(volume.voxels, np.diag([-6.0, -6.0, 6.0, 1.0]))
    choosy = model("choosy", 0.9, domain=Domain.measure([larger], "axial"))
    wrong = replace(volume, modality="MR")
    found = as_one([tiny, choosy], wrong).provenance["warnings"]
    assert found == Ensemble([tiny, choosy], "cpu").warnings(wrong)
    common = alone(tiny, wrong).provenance["warnings"]
    own = [sentence for sentence in alone(choosy, wrong).provenance["warnings"] if sentence not in common]
    assert common
    assert own
    assert sorted(found) == sorted([*common, *(f"choosy: {sentence}" for sentence in own)])


def test_one_member_for_which_the_image_is_unlike_its_training_data_is_enough(volume, monkeypatch):
    told = {"a": None, "b": {"is_unlike": False, "sentence": "Fine."}, "c": {"is_unlike": True, "sentence": "Odd."}}

    class Told(InferenceEngine):
        def translate(self, *arguments, **options):
            assert not options.get("epistemic")  # which costs as much again, and is not what is looked for here
            translation = super().translate(*arguments, **options)
            translation.provenance["familiarity"] = told[self.bundle.metadata.name]
            return translation

    monkeypatch.setattr(module, "InferenceEngine", Told)
    for names, expected in (("abc", (True, "c: Odd.")), ("ba", (False, "b: Fine."))):
        found = as_one([model(name, 1.0) for name in names], volume, epistemic=True).provenance
        assert (found["familiarity"]["is_unlike"], found["familiarity"]["sentence"]) == expected
        assert [member["familiarity"] for member in found["members"]] == [told[name] for name in sorted(names)]
    assert as_one([model("a", 1.0), model("a", 0.5)], volume).provenance["familiarity"] is None


def test_progress_goes_over_all_members_by_what_they_cost(tiny, deep, volume):
    heard = []
    as_one([tiny, deep], volume, progress=heard.append)
    fractions = [done.fraction for done in heard]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert {done.what.partition(",")[0] for done in heard} == {"model 1 of 2", "model 2 of 2"}
    # The companion comes first, and has three phases where the other has two: about 3 of 5.
    costs = [
        estimate(bundle.metadata.upgan.model_dump(), SHAPE, volume.ijk_to_ras).multiply_adds for bundle in (deep, tiny)
    ]
    first = max(done.fraction for done in heard if done.member == 1)
    assert first == pytest.approx(costs[0] / sum(costs))
    last = heard[-1]
    assert last.remaining_s == 0
    assert heard[0].remaining_s == pytest.approx(heard[0].elapsed_s * (1 / heard[0].fraction - 1))


@pytest.mark.parametrize("member", [1, 2])
def test_it_can_be_cancelled_in_each_member(tiny, other, volume, member):
    def cancel(done):
        if done.member == member:
            raise Cancelled

    with pytest.raises(Cancelled):
        as_one([tiny, other], volume, progress=cancel)


def test_one_model_is_in_memory_at_a_time(tiny, other, deep, volume, monkeypatch):
    alive = []

    class Counted(InferenceEngine):
        def __init__(self, *arguments):
            alive.append(1)
            assert sum(alive) == 1
            super().__init__(*arguments)

        def __del__(self):
            alive.append(-1)

    monkeypatch.setattr(module, "InferenceEngine", Counted)
    as_one([tiny, other, deep], volume)
    assert alive.count(1) == 3


def test_the_estimate_is_the_time_of_all_and_the_memory_of_the_largest_and_the_sums(tiny, deep):
    costs = [estimate(bundle.metadata.upgan.model_dump(), SHAPE, np.eye(4), rate=1e6) for bundle in (tiny, deep)]
    found = together(costs, SHAPE, 1)
    assert found.seconds == sum(cost.seconds for cost in costs)
    assert found.multiply_adds == sum(cost.multiply_adds for cost in costs)
    assert found.device_bytes == max(cost.device_bytes for cost in costs)
    assert found.host_bytes - max(cost.host_bytes for cost in costs) == 5 * 4 * np.prod(SHAPE)
    assert together([*costs, costs[0]._replace(seconds=None)], SHAPE, 1).seconds is None
    assert together(costs[:1], SHAPE, 1) is costs[0]


def test_a_field_of_view_of_which_the_models_see_little_is_no_reason_to_refuse():
    wide = np.zeros((2, 700, 700), np.float32)
    wide[:, 300:330, 320:350] = blob((2, 30, 30))
    near = {"name": "up-gan", "phases": 2, "width": 1, "margin_mm": 8.0}
    models = [model("one", 1.0, architecture=near), model("other", 0.7, architecture=near)]
    found = as_one(models, Volume(wide, np.diag([4.0, 4.0, 4.0, 1.0])))  # 2.8 m
    assert found.last.image.shape == wide.shape


def test_what_would_not_fit_is_refused_before_a_model_is_loaded(tiny, other, monkeypatch):
    # Room for what a single model makes of it, and not for the sums beside that.
    monkeypatch.setattr(memory, "available_bytes", lambda: 4 * 8 * int(np.prod(SHAPE)))
    monkeypatch.setattr(module, "InferenceEngine", None)
    volume = Volume(blob(SHAPE), np.eye(4))
    memory.refuse_beyond_memory(SHAPE, 1)
    assert code_of(lambda: as_one([tiny, other], volume)) == "out_of_memory"
