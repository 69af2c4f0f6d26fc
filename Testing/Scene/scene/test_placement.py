"""What can be known in Slicer of how sure a volume's place is: what its file says, until somebody has placed it."""

import itertools

import nibabel
import numpy as np
import pytest

AFFINE = np.array([[-8.0, 0, 0, 90], [0, 8, 0, -100], [0, 0, 9, -70], [0, 0, 0, 1]])
TURNED = np.array([[-8.0, 0, 0, 90], [0, 6.4, -5.4, -100], [0, 4.8, 7.2, -70], [0, 0, 0, 1]])


@pytest.fixture
def load(app, mrml_scene):
    """Load a file as Slicer does, by its own reader."""
    import slicer

    def read(path):
        node = mrml_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", path.stem)
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        mrml_scene.AddNode(storage)
        storage.SetFileName(str(path))
        node.SetAndObserveStorageNodeID(storage.GetID())
        assert storage.ReadData(node)
        return node

    return read


@pytest.fixture
def placement_of():
    pytest.importorskip("slicer")
    from UncertaintyGuidedI2ILib.scene.placement import placementOf

    return placementOf


def save(path, codes):
    image = nibabel.Nifti1Image(np.arange(120, dtype=np.int16).reshape(6, 5, 4), AFFINE)
    image.set_qform(AFFINE, codes[0])
    image.set_sform(TURNED if codes[1] == 2 else AFFINE, codes[1])
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(
    ("codes", "certainty"), [((0, 0), "guessed"), ((1, 2), "ambiguous"), ((1, 1), "certain"), ((1, 0), "certain")]
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_loaded_volume_is_as_sure_as_its_file_and_lies_where_the_engine_puts_it(
    codes, certainty, suffix, load, placement_of, tmp_path
):
    import slicer

    from UncertaintyGuidedI2ILib.scene.nodes import ijkToRAS
    from upgan.images.reading import read_volume

    path = save(tmp_path / f"image{suffix}", codes)
    node = load(path)
    assert placement_of(node).certainty == certainty
    assert placement_of(node).sentence == read_volume(path).placement.sentence
    # Slicer turns the slices of left-handed axes round: the same values at the same places.
    volume = read_volume(path)
    between = np.linalg.inv(ijkToRAS(node)) @ volume.ijk_to_ras
    for ijk in itertools.product((0, 5), (0, 4), (0, 3)):
        there = between @ [*ijk, 1]
        i, j, k = np.rint(there[:3]).astype(int)
        np.testing.assert_allclose(there[:3], (i, j, k), atol=1e-3)
        assert slicer.util.arrayFromVolume(node)[k, j, i] == volume.voxels[ijk[::-1]]


def test_who_moves_a_volume_has_placed_it_but_who_paints_in_it_has_not(load, placement_of, mrml_scene, tmp_path):
    import slicer

    node = load(save(tmp_path / "image.nii", (0, 0)))
    slicer.util.arrayFromVolume(node)[:] = 1
    slicer.util.arrayFromVolumeModified(node)
    assert placement_of(node).certainty == "guessed"
    transform = mrml_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetAndObserveTransformNodeID(transform.GetID())
    assert placement_of(node).is_certain
    node.SetAndObserveTransformNodeID(None)
    assert placement_of(node).certainty == "guessed"
    node.SetOrigin(1, 2, 3)
    assert placement_of(node).is_certain


def test_what_has_no_file_or_an_unreadable_one_is_taken_as_it_lies(add_volume, load, placement_of, tmp_path):
    assert placement_of(add_volume()).is_certain
    path = save(tmp_path / "image.nii", (0, 0))
    node = load(path)
    path.write_bytes(b"no image any more")
    assert placement_of(node).is_certain
    path.unlink()
    assert placement_of(node).is_certain


def test_a_run_hands_the_guess_on_to_its_results_and_warns(load, placement_of, logic, tmp_path):
    node = load(save(tmp_path / "image.nii", (0, 0)))
    seen = []
    engine = logic._engine

    def spying(*choices):
        made = engine(*choices)
        translate = made.translate

        def translated(volume, **options):
            seen.append(volume.placement)
            return translate(volume, **options)

        made.translate = translated
        return made

    logic._engine = spying
    logic.translate(node)
    assert [placement.certainty for placement in seen] == ["guessed"]


def test_a_result_is_as_sure_as_the_input_it_was_made_of(add_volume, placement_of):
    node = add_volume("result")
    node.SetAttribute("UncertaintyGuidedI2I.Placement", "certain")
    assert placement_of(node).is_certain
    node.SetAttribute("UncertaintyGuidedI2I.Placement", "guessed")
    node.SetAttribute("UncertaintyGuidedI2I.PlacementNote", "The file says no place.")
    assert placement_of(node).certainty == "guessed"
    assert placement_of(node).sentence == "The file says no place."


def test_a_result_that_was_moved_is_not_called_a_guess_any_more(add_volume, placement_of):
    from UncertaintyGuidedI2ILib.scene.nodes import OutputName, addOutput, provenanceOf

    source = add_volume("input")
    provenance = {"placement": "guessed", "placement_note": "The file says no place."}
    node = addOutput(source, OutputName("pseudo_ct", "image", 1, "HU"), source.GetImageData(), "pseudo-CT", provenance)
    assert provenanceOf(node) == provenance
    assert placement_of(node).certainty == "guessed"
    node.SetOrigin(1, 2, 3)
    assert placement_of(node).is_certain


def test_a_remark_counts_until_the_file_that_slicer_writes_lies_elsewhere(mrml_scene, placement_of, tmp_path):
    import slicer

    from upgan.images.placement import Placement
    from upgan.images.reading import read_volume
    from upgan.images.volume import Volume
    from upgan.images.writing import write_volume

    left_handed = np.array([[1.1, 0.2, 0, -13.123456789], [-0.2, 1.1, 0, 7], [0, 0, -2.5, 3], [0, 0, 0, 1]])
    guess = Placement("guessed", "'ä.nrrd' does not say\nin which space it lies.")
    path = tmp_path / "image.nrrd"
    write_volume(Volume(np.zeros((4, 5, 6), np.float32), left_handed, placement=guess), path)
    node = mrml_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = slicer.vtkMRMLNRRDStorageNode()
    mrml_scene.AddNode(storage)
    storage.SetFileName(str(path))
    node.SetAndObserveStorageNodeID(storage.GetID())
    assert storage.ReadData(node)
    for moved in (False, True):
        if moved:
            node.SetOrigin(1, 2, 3)
        assert storage.WriteData(node)
        assert b"UncertaintyGuidedI2I.Place:=guessed" in path.read_bytes()
        assert read_volume(path).placement.is_certain == moved
        assert placement_of(node).is_certain == moved
    assert read_volume(path).placement.sentence == ""


def test_pairs_that_are_handed_to_a_training_carry_the_guess_in_their_files(load, add_volume, tmp_path):
    from UncertaintyGuidedI2ILib.train.export import exportPairs
    from upgan.images.reading import read_volume

    node = load(save(tmp_path / "image.nii", (0, 0)))
    for _ in exportPairs([("p", node, add_volume())], tmp_path / "pairs"):
        pass
    read = [read_volume(tmp_path / "pairs" / f"001_{side}.nrrd").placement for side in ("input", "target")]
    assert [placement.certainty for placement in read] == ["guessed", "certain"]
