"""What is wrong with training data is said before the training starts, on simulated heads that tests spoil."""

import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from pydicom.data import get_testdata_file
from scipy import ndimage
from scipy.spatial.transform import Rotation

from Engine.made_images import save_nifti, save_series, save_slice
from upgan.errors import Cancelled, InputError
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.images.writing import write_volume
from upgan.pairs.checking import check_pairs, check_set, median_spacing, place_warnings, refuse
from upgan.pairs.config import DataConfig, SplitConfig
from upgan.pairs.finding import PairFiles, find_pairs
from upgan.pairs.findings import CheckedPair, Problem
from upgan.pairs.outliers import outliers
from upgan.pairs.pictures import write_degraded
from upgan.pairs.preparation import prepare_pair
from upgan.pairs.registration import register
from upgan.pairs.splitting import split_subjects
from upgan.pairs.thumbnails import thumbnail
from upgan.progress import Progress
from upgan.simulation.pet import Scanner, hu_to_mu, simulate_nac_pet
from upgan.simulation.phantom import simulate_head
from upgan.tasks import MRI_UNDERSAMPLED, PET_TO_CT

SHAPE, SPACING_MM = (24, 56, 48), (9.0, 4.0, 4.0)
PAIRS = DataConfig(path=Path("unused"), layout="csv")


@pytest.fixture(scope="module")
def heads() -> list[tuple[Volume, Volume]]:
    """NAC-PET and CT of two simulated patients."""
    patients = [simulate_head(seed, SHAPE, SPACING_MM) for seed in (1, 2)]
    return [(simulate_nac_pet(head, Scanner(angles=60)), head.ct) for head in patients]


@pytest.fixture
def pair(heads, tmp_path):
    """Write a pair, either side spoilt or replaced; → its files."""

    def make(subject="s1", *, source=None, target=None, head=0) -> PairFiles:
        paths = [tmp_path / f"{subject}_{side}.nii.gz" for side in ("pet", "ct")]
        for path, volume in zip(paths, (source or heads[head][0], target or heads[head][1]), strict=True):
            write_volume(volume, path)
        return PairFiles(subject, *paths)

    return make


def check(files: PairFiles, data: DataConfig = PAIRS, **options) -> CheckedPair:
    (checked,) = check_pairs([files], data, PET_TO_CT, **options)
    for problem in checked.problems:
        assert problem.sentence.endswith(".")
        assert problem.remedy.endswith(".")
        assert files.subject not in problem.sentence.replace(f"{files.subject}_", "")  # said by the table
    return checked


def codes(checked: CheckedPair) -> list[str]:
    return [problem.code for problem in checked.problems]


def with_voxels(volume: Volume, voxels: np.ndarray) -> Volume:
    return Volume(voxels.astype(np.float32), volume.ijk_to_ras)


# One pair


def test_a_good_pair_has_no_problems_and_figures_that_make_sense(pair, heads):
    checked = check(pair())
    assert checked.problems == ()
    assert checked.usable
    assert (checked.slices, checked.shape, checked.spacing_mm) == (24, (56, 48), (4.0, 4.0))
    assert checked.figures["overlap"] > 0.85
    head = ndimage.binary_fill_holes(ndimage.binary_closing(heads[0][1].voxels > -500, np.ones((1, 3, 3))))
    assert checked.figures["body_ml"] == pytest.approx(head.sum() * 4 * 4 * 9 / 1000, rel=0.1)
    assert checked.figures["reference"] == PET_TO_CT.measure(heads[0][0].voxels).reference
    assert -100 < checked.figures["target_median"] < 100


def test_a_missing_side_is_named(pair):
    assert codes(check(replace(pair(), input=None))) == ["missing_input"]
    assert codes(check(replace(pair(), target=None))) == ["missing_target"]
    checked = check(PairFiles("s1", Path("gone_pet.nii"), Path("gone_ct.nii")))
    assert [problem.sentence for problem in checked.problems] == [
        "Input: There is no file or folder 'gone_pet.nii'.",
        "Target: There is no file or folder 'gone_ct.nii'.",
    ]


def test_a_file_cut_short_or_of_another_kind_is_named(pair):
    files = pair()
    files.target.write_bytes(files.target.read_bytes()[:3000])
    files.input.write_text("no image")
    checked = check(files)
    assert codes(checked) == ["not_an_image", "truncated_file"]
    assert "'s1_ct.nii.gz'" in checked.problems[1].sentence
    assert not checked.usable


def test_four_dimensions_not_a_number_and_a_constant_are_refused(pair, heads):
    pet, ct = heads[0]
    files = pair()
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 7), np.float32), np.eye(4)), files.input)
    assert codes(check(files)) == ["not_three_dimensional"]
    holes = pet.voxels.copy()
    holes[3, 4, 5:8] = np.nan
    checked = check(pair(source=with_voxels(pet, holes)))
    assert codes(checked) == ["not_finite"]
    assert "3 NaN" in checked.problems[0].sentence
    assert codes(check(pair(target=with_voxels(ct, np.full(SHAPE, -1000.0))))) == ["constant_image"]
    assert codes(check(pair(source=with_voxels(pet, -pet.voxels - 1)))) == ["no_signal"]


def test_swapped_modalities_are_told_from_wrong_units(pair, heads):
    pet, ct = heads[0]
    assert codes(check(pair(source=ct, target=pet))) == ["swapped_modalities"]
    assert codes(check(pair(source=ct))) == ["input_is_ct"]
    assert codes(check(pair(target=with_voxels(ct, np.clip(ct.voxels + 1024, 0, 4095))))) == ["not_hu"]
    assert codes(check(pair(target=with_voxels(ct, hu_to_mu(ct.voxels))))) == ["not_hu"]


def outside_round_view(shape) -> np.ndarray:
    _, j, i = np.indices(shape)
    return ((j - (shape[1] - 1) / 2) / shape[1]) ** 2 + ((i - (shape[2] - 1) / 2) / shape[2]) ** 2 > 0.245


def test_what_is_no_tissue_in_a_ct_is_said_and_trained_on_as_air_or_as_the_densest_tissue(pair, heads):
    ct = heads[0][1]
    outside = outside_round_view(SHAPE)
    good = prepare_pair(pair(), PAIRS, PET_TO_CT).target.voxels
    for spoilt, value, code, words in (
        (outside, -3024, "ct_padding", [f"{outside.mean():.1%}", "-3024"]),
        (np.s_[12, 30:32, 20:23], 30_000, "metal", ["6 voxels", "30000"]),
        (np.s_[12, 30, 20], 3e6, "impossible_values", ["1 voxels", "3e+06"]),
    ):
        voxels = ct.voxels.copy()
        voxels[spoilt] = value
        files = pair(target=with_voxels(ct, voxels))
        checked = check(files)
        assert codes(checked) == [code]
        assert checked.usable
        assert all(word in checked.problems[0].sentence for word in words)
        target = prepare_pair(files, PAIRS, PET_TO_CT).target.voxels
        assert (target[spoilt] == (-1000 if value < 0 else 3071)).all()
        target[spoilt] = good[spoilt]
        np.testing.assert_array_equal(target, good)


def test_a_patient_whom_the_ct_does_not_see_whole_is_named_though_it_is_padded_there(pair, heads):
    ct = heads[0][1]
    voxels = ct.voxels.copy()
    voxels[:, :, :20] = -2000
    assert codes(check(pair(target=with_voxels(ct, voxels))))[:2] == ["ct_padding", "partly_covered"]


@pytest.mark.parametrize(
    ("background", "code", "usable"),
    [
        (lambda ct: ct < -500, "background_not_air", False),
        (lambda ct: outside_round_view(ct.shape), "background_not_air", False),
        (lambda ct: np.indices(ct.shape)[2] < 1, "background_partly_zero", True),
    ],
    ids=["all", "around the field of view", "a strip"],
)
def test_a_background_of_water_is_not_taken_for_air(pair, heads, background, code, usable):
    ct = heads[0][1]
    checked = check(pair(target=with_voxels(ct, np.where(background(ct.voxels), 0, ct.voxels))))
    assert codes(checked) == [code]
    assert checked.usable == usable


def test_one_image_for_both_sides_is_refused_for_mri(pair, heads):
    data = DataConfig(path=Path("unused"), layout="csv", task="mri_motion")
    pet, _ = heads[0]
    (checked,) = check_pairs([pair(source=pet, target=pet)], data, MRI_UNDERSAMPLED)
    assert codes(checked) == ["same_image"]


def test_negative_inputs_are_a_warning(pair, heads):
    pet, _ = heads[0]
    voxels = pet.voxels.copy()
    voxels[:3] = -pet.voxels.max() / 2
    checked = check(pair(source=with_voxels(pet, voxels)))
    assert codes(checked) == ["negative_values"]
    assert checked.usable


def moved(volume: Volume, angles=(0, 0, 0), shift=(0, 0, 0)) -> tuple[np.ndarray, Volume]:
    """Turn a volume about its centre and shift it; also return the motion, RAS mm."""
    centre = (volume.ijk_to_ras @ [*((np.array(volume.voxels.shape[::-1]) - 1) / 2), 1])[:3]
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    motion[:3, 3] = np.array(shift) + centre - motion[:3, :3] @ centre
    return motion, Volume(volume.voxels, motion @ volume.ijk_to_ras)


@pytest.mark.parametrize(
    ("shift", "code", "usable"),
    [
        ((1, 0, 0), "other_grid", True),
        ((40, 0, 0), "poor_overlap", True),
        ((90, 0, 0), "other_place", False),
        ((0, 0, 200), "not_overlapping", False),
    ],
)
def test_the_further_apart_a_pair_lies_the_worse(pair, heads, shift, code, usable):
    checked = check(pair(target=moved(heads[0][1], shift=shift)[1]))
    assert codes(checked)[-1] == code
    assert checked.usable == usable


def with_codes(path: Path, qform: int, sform: int, shift=(0, 0, 0)) -> None:
    """Change a NIfTI file's codes, and shift its sform by mm."""
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += shift
    new = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
    new.set_qform(image.affine, qform)
    new.set_sform(affine, sform)
    nibabel.save(new, path)


@pytest.mark.parametrize("side", ["input", "target"])
@pytest.mark.parametrize(("both", "shift", "warning"), [((0, 0), 0, "guessed_place"), ((1, 2), 50, "two_places")])
def test_no_image_is_resampled_or_registered_from_a_place_that_is_a_guess(pair, side, both, shift, warning):
    files = pair()
    with_codes(getattr(files, side), *both, shift=(shift, 0, 0))
    if both != (0, 0):  # what is taken is the qform: the same grid
        assert check(files).usable
        assert codes_of_place(check(files)) == [warning]
        # The same grid needs no resampling, but to be registered is to be moved.
        data = PAIRS.model_copy(update={"register_pairs": True})
    else:
        data = PAIRS
    checked = check(files, data)
    assert codes_of_place(checked) == [warning, "unsure_place"]
    assert not checked.usable
    assert not any("nothing needs to be done" in problem.remedy for problem in checked.problems)
    with pytest.raises(InputError) as refusal:
        prepare_pair(files, data, PET_TO_CT)
    assert refusal.value.code == "unsure_place"
    if not data.register_pairs:
        checked = check(files, data.model_copy(update={"trust_guessed_places": True}))
        assert codes_of_place(checked) == [warning]
        assert "other_grid" in codes(checked)
        assert not any("nothing needs to be done" in problem.remedy for problem in checked.problems)


def codes_of_place(checked: CheckedPair) -> list[str]:
    return [code for code in codes(checked) if "place" in code and code != "other_place"]


def test_two_files_of_one_grid_guessed_alike_go_together_with_a_warning_each(pair, heads):
    files = pair()
    for path in (files.input, files.target):
        with_codes(path, 0, 0)
    checked = check(files)
    assert codes(checked) == ["guessed_place", "guessed_place"]
    assert checked.usable
    assert [sentence[:3] for _, sentence in place_warnings([checked])] == ["s1:", "s1:"]
    prepared = prepare_pair(files, PAIRS, PET_TO_CT)
    assert len(prepared.notes) == 2
    np.testing.assert_array_equal(prepared.target.voxels, heads[0][1].voxels)


def test_a_target_that_covers_part_of_the_patient_is_named(pair, heads):
    ct = heads[0][1]
    checked = check(pair(target=Volume(ct.voxels[:18], ct.ijk_to_ras)))
    assert "partly_covered" in codes(checked)
    assert checked.usable


def test_what_ends_the_reading_of_one_dicom_folder_does_not_end_the_check_of_the_set(pair, tmp_path):
    others = []
    for subject in ("dose", "short"):
        folder = tmp_path / subject
        folder.mkdir()
        save_series(folder, [0.0, 5.0, 10.0], Modality="PT")
        others.append(replace(pair(subject), input=folder))
    # What GDCM could not list, and what it read from wherever memory had something.
    shutil.copy(get_testdata_file("rtdose_1frame.dcm", download=False), tmp_path / "dose")
    (tmp_path / "dose" / "zz.dcm").symlink_to("/nowhere/zz.dcm")
    save_slice(tmp_path / "short" / "001.dcm", np.array([7, -8, 5]), Modality="PT", PixelData=bytes(30))
    dose, short, good = check_pairs([*others, pair("good")], PAIRS, PET_TO_CT)
    assert "input" in dose.checksums  # It was read.
    assert codes(short) == ["truncated_file"]
    assert "1 slice in the folder 'short'" in short.problems[0].sentence
    assert good.usable


def test_dicom_marks_of_another_modality_are_a_warning(pair, tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    save_series(folder, [0.0, 5.0, 10.0])
    checked = check(replace(pair(), input=folder))
    assert codes(checked)[0] == "other_modality"
    assert "marked as CT, but PT" in checked.problems[0].sentence


# Registration


def halved(volume: Volume) -> Volume:
    """The same head at half its size: registered in an eighth of the time."""
    return Volume(volume.voxels, np.diag([0.5, 0.5, 0.5, 1.0]) @ volume.ijk_to_ras)


def test_a_moved_head_of_another_contrast_is_brought_back_within_a_millimetre_and_a_degree(heads):
    ct = halved(heads[0][1])
    fixed = with_voxels(ct, 500 * np.exp(-(((ct.voxels - 40) / 500) ** 2)))  # bone is dark, as in MRI
    motion, target = moved(ct, (4, -3, 5), (6, -8, 5))
    found = register(fixed, target)
    left = found.motion @ motion
    places = fixed.ijk_to_ras @ np.array([[x, y, z, 1] for x in (8, 40) for y in (8, 48) for z in (4, 20)]).T
    assert np.linalg.norm((left @ places - places)[:3], axis=0).max() < 1.0
    assert np.degrees(Rotation.from_matrix(left[:3, :3]).magnitude()) < 1.0
    assert found.after > found.before + 0.1
    assert found.rotation_deg == pytest.approx(np.sqrt(50), abs=1)
    assert found.shift_mm == pytest.approx(np.sqrt(125), abs=1)
    np.testing.assert_array_equal(found.motion, register(fixed, target).motion)


def test_registered_pairs_are_checked_and_prepared_where_they_were_brought_to(pair, heads):
    pet, ct = (halved(volume) for volume in heads[0])
    files = pair(source=pet, target=moved(ct, shift=(40, -25, 30))[1])
    asked = PAIRS.model_copy(update={"register_pairs": True})
    assert not check(files).usable
    checked = check(files, asked)
    assert checked.usable
    assert checked.figures["overlap"] > 0.85
    assert checked.figures["shift_mm"] == pytest.approx(np.sqrt(40**2 + 25**2 + 30**2), abs=4)
    assert checked.figures["information_gain"] > 0.1
    prepared = prepare_pair(files, asked, PET_TO_CT)
    np.testing.assert_array_equal(prepared.target.ijk_to_ras, pet.ijk_to_ras)
    assert prepared.target.voxels.shape == SHAPE
    outline, wanted = prepared.target.voxels > -500, ct.voxels > -500
    assert 2 * (outline & wanted).sum() / (outline.sum() + wanted.sum()) > 0.95


def test_pairs_that_share_nothing_cannot_be_prepared(pair, heads):
    files = pair(target=moved(heads[0][1], shift=(0, 0, 2000))[1])
    with pytest.raises(InputError) as refusal:
        prepare_pair(files, PAIRS, PET_TO_CT)
    assert refusal.value.code == "no_overlap"


# The set


def made(subject: str, *problems: str, split=None, **checksums: str) -> CheckedPair:
    """A checked pair without images; problems with a ? are warnings."""
    files = PairFiles(subject, Path("a"), Path("b"), split)
    listed = tuple(
        Problem(code.strip("?"), f"It is {code}.", "Mend it.", "warning" if code.endswith("?") else "error")
        for code in problems
    )
    return CheckedPair(files, listed, checksums={"input": subject, "target": subject} | checksums)


def test_the_first_bad_subject_is_named_with_the_number_of_the_others():
    checked = [made("a"), made("b", "odd?", "not_hu", "worse"), made("c"), made("d"), *map(bad, "efghij")]
    with pytest.raises(InputError) as refusal:
        refuse(checked, skip_bad=False)
    assert refusal.value.code == "not_hu"
    assert refusal.value.sentence == ("b: It is not_hu. b, e, f, g, h and 2 others cannot be used, of 10 subjects.")
    with pytest.raises(InputError) as refusal:
        refuse(checked[:4], skip_bad=False)
    assert refusal.value.sentence == "b: It is not_hu."


def bad(subject: str) -> CheckedPair:
    return made(subject, "truncated_file")


def test_bad_subjects_are_left_out_only_if_asked_and_a_bad_set_is_never():
    checked = [made("a"), bad("b"), made("c", "odd?"), made("d")]
    assert [files.subject for files in refuse(checked, skip_bad=True)] == ["a", "c", "d"]
    for remaining, code in ((checked[:2], "one_patient"), (checked[:3], "too_few_subjects"), ([bad("x")], "no_pairs")):
        with pytest.raises(InputError) as refusal:
            refuse(remaining, skip_bad=True)
        assert refusal.value.code == code


def test_an_image_in_two_parts_is_an_error_and_twice_in_one_part_a_warning():
    split = {"train": "abc", "validation": "d", "test": "e"}
    members = {subject: part for part, subjects in split.items() for subject in subjects}

    def problems(**same: str) -> list[Problem]:
        return check_set(
            [made(s, split=part, **({"target": same[s]} if s in same else {})) for s, part in members.items()],
            SplitConfig(),
        )

    assert problems() == []
    (problem,) = problems(a="x", c="x")
    assert (problem.code, problem.severity) == ("same_image_twice", "warning")
    (problem,) = problems(a="x", e="x")
    assert (problem.code, problem.severity) == ("same_image_in_two_parts", "error")
    assert problem.sentence == "a and e have the same target image, one in train, one in test."


def test_an_image_that_is_there_twice_blocks_nothing_where_one_of_them_is_in_no_part():
    subjects = "abcdefgh"
    split = SplitConfig(train=1, validation=1, test=1)
    parts = split_subjects([made(s).files for s in subjects], split)
    used = [*parts.train, *parts.validation, *parts.test]
    unused = [s for s in subjects if s not in used]
    for same in ((used[0], unused[0]), (unused[0], unused[1])):
        assert check_set([made(s, **({"target": "x"} if s in same else {})) for s in subjects], split) == []
    (problem,) = check_set(
        [made(s, **({"target": "x"} if s in (used[0], used[2], unused[0]) else {})) for s in subjects], split
    )
    assert problem.code == "same_image_in_two_parts"


def test_a_copied_image_has_the_checksum_of_the_original_in_whatever_format(pair, heads, tmp_path):
    files = pair()
    write_volume(read_volume(files.input), tmp_path / "copy.nrrd")
    one, other = check_pairs([files, replace(files, subject="s2", input=tmp_path / "copy.nrrd")], PAIRS, PET_TO_CT)
    assert one.checksums == other.checksums
    assert one.sha256 == prepare_pair(files, PAIRS, PET_TO_CT).sha256 != check(pair("s3", head=1)).sha256


def test_the_same_patient_in_two_parts_of_a_table_is_refused(pair, tmp_path):
    pair("s1")
    pair("s2", head=1)
    rows = [f"{name},{name}_pet.nii.gz,{name}_ct.nii.gz,{part}" for name, part in (("s1", "train"), ("s2", "test"))]
    rows += ["s1,s2_pet.nii.gz,s2_ct.nii.gz,validation"]
    (tmp_path / "pairs.csv").write_text("\n".join(["subject,input,target,split", *rows]), encoding="utf-8")
    checked = check_pairs(find_pairs(DataConfig(path=tmp_path / "pairs.csv", layout="csv")), PAIRS, PET_TO_CT)
    with pytest.raises(InputError) as refusal:
        refuse(checked, skip_bad=True)
    assert refusal.value.code == "patient_in_two_parts"
    assert "s1 is in train and in validation" in refusal.value.sentence


@pytest.mark.parametrize(
    ("name", "usual", "odd", "unremarkable"),
    [
        ("body_ml", 3500, 900, 3900),
        ("target_median", 20, 1044, 60),
        ("reference", 5000, 5, 9000),
        ("overlap", 0.95, 0.7, 1.0),
        ("similarity", 1.14, 1.05, 1.3),
    ],
)
def test_a_subject_far_from_the_others_is_named(rng, name, usual, odd, unremarkable):
    figures = {f"s{n}": {name: usual * rng.uniform(0.99, 1.01)} for n in range(9)}
    assert outliers(figures) == {}
    assert outliers(figures | {"x": {name: unremarkable}}) == {}
    found = outliers(figures | {"x": {name: odd}})
    assert list(found) == ["x"]
    assert "usual" in found["x"][0]
    assert outliers(dict([*figures.items()][:4]) | {"x": {name: odd}}) == {}  # too few to say


def test_a_spread_of_its_own_is_no_outlier():
    values = np.geomspace(100, 10_000, 12)  # intensities of three scanners
    assert outliers({str(n): {"reference": value} for n, value in enumerate(values)}) == {}


def test_outliers_are_warnings_of_their_pair(pair, heads):
    pet, _ = heads[0]
    files = [pair(f"s{n}", source=with_voxels(pet, pet.voxels * (1 + 0.05 * n))) for n in range(6)]
    files.append(pair("odd", source=with_voxels(pet, pet.voxels * 1000)))
    checked = check_pairs(files, PAIRS, PET_TO_CT)
    assert [codes(one) for one in checked] == [[]] * 6 + [["outlier"]]
    assert checked[-1].usable


def test_the_median_spacing_is_that_of_the_inputs():
    spacings = [(2.0, 2.0), (1.0, 4.0), (3.0, 3.00004)]
    assert median_spacing([replace(made("a"), spacing_mm=spacing) for spacing in spacings]) == (2.0, 3.0)


# Progress and pictures


def test_progress_is_told_and_may_end_the_check(pair):
    files, seen = [pair("s1"), pair("s2", head=1)], []
    check_pairs(files, PAIRS, PET_TO_CT, Progress(lambda *told: seen.append(told)))
    assert seen == [("checking patient 1 of 2", 0.5, None), ("checking patient 2 of 2", 1.0, None)]

    def stop(*told):
        raise Cancelled

    with pytest.raises(Cancelled):
        check_pairs(files, PAIRS, PET_TO_CT, Progress(stop))


def test_thumbnails_are_written_for_what_can_be_read(pair, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    checked = check(replace(pair(), input=Path("gone.nii")), thumbnails=folder)
    assert list(checked.thumbnails) == ["target"]
    picture = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(checked.thumbnails["target"])))
    assert (picture.shape, picture.dtype) == ((128, 110), np.uint8)


@pytest.mark.parametrize("count", [6, 7])
def test_input_and_target_are_shown_at_one_slice_in_one_window(count, tmp_path):
    target = np.zeros((count, 40, 40), dtype=np.float32)
    # Each slice of a brightness of its own: a degradation that keeps the mean keeps the picture's.
    target[:, 8:32, 8:32] = 100 + 100 * np.arange(count)[:, None, None]
    save_nifti(tmp_path / "1_t1.nii", target.T)
    data = DataConfig(
        path=tmp_path, layout="pattern", target="{subject}_t1.nii", task="mri_undersampled", degradation="central_block"
    )
    (files,) = find_pairs(data)
    (checked,) = check_pairs([files], data, MRI_UNDERSAMPLED, thumbnails=tmp_path)
    large = write_degraded(files, data, tmp_path)
    for paths, side in ((checked.thumbnails, 128), (large, 256)):
        made, sharp = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(paths[s]))) for s in ("input", "target"))
        assert made.shape == sharp.shape == (side, side)
        assert (made != sharp).any()
        inside = slice(side // 4, -side // 4)
        # The slice beside it is darker by a fifth or more.
        assert made[inside, inside].mean() == pytest.approx(sharp[inside, inside].mean(), rel=0.1)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_thumbnail_is_the_middle_slice_with_square_pixels_as_a_radiologist_views_it(plane):
    # Bright towards the patient's left, back and feet.
    affine = np.diag([-1.0, 2.0, 4.0, 1.0])
    k, j, i = np.indices((20, 40, 80))
    volume = Volume((i - j - k).astype(np.float32), affine)
    picture = thumbnail(volume, plane, window=(-60.0, 80.0))
    assert picture.shape == (128, 128)
    assert picture[-1, -1] > picture[0, 0] + 50


def test_a_degraded_task_looks_at_the_target_alone_and_shows_what_becomes_of_it(shared_data, tmp_path):
    pytest.importorskip("upgan.simulation.degradation")
    data = DataConfig(
        path=shared_data / "t1",
        layout="pattern",
        target="{subject}_26y_trio3T.nii.gz",
        task="mri_undersampled",
        degradation="central_lines",
    )
    (checked,) = check_pairs(find_pairs(data), data, MRI_UNDERSAMPLED, thumbnails=tmp_path)
    assert checked.problems == ()
    assert checked.slices == read_volume(checked.files.target).reoriented("axial").voxels.shape[0]
    assert 2000 < checked.figures["body_ml"] < 6000
    sharp, blurred = (
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(checked.thumbnails[side]))).astype(float)
        for side in ("target", "input")
    )
    assert sharp.shape == blurred.shape
    assert np.abs(ndimage.laplace(blurred)).mean() < 0.7 * np.abs(ndimage.laplace(sharp)).mean()
