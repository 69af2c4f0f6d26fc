"""What people meet first: ``import upgan``, its help, the examples, and the addresses of earlier versions."""

import ast
import doctest
import importlib
import inspect
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import upgan
from Engine.conftest import seasoned_cascade, write_tiny
from upgan.images.reading import read_volume
from upgan.images.volume import Volume
from upgan.images.writing import write_volume
from upgan.inference.saving import OutputFolder

PACKAGE = Path(upgan.__file__).parent
ROOT = PACKAGE.parents[1]
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))

# What README, Documentation/ and the scripts in Testing/ of any earlier version imported of modules that are gone.
PUBLISHED = {
    "upgan.bundle": ["Bundle", "find_bundle", "software_versions", "write_bundle"],
    "upgan.devices": ["computes_in_bfloat16"],
    "upgan.distribution": ["GeneralizedNormal"],
    "upgan.domain": ["Domain", "appearance_of", "misfits"],
    "upgan.evaluation.body": ["body_mask"],
    "upgan.evaluation.calibration": ["coverage"],
    "upgan.evaluation.scope": ["scope_of"],
    "upgan.losses": ["published_product_loss"],
    "upgan.saving": ["OutputFolder", "read_result"],
    "upgan.training.config": ["DataConfig", "TrainingConfig"],
    "upgan.training.pairs": ["find_pairs"],
    "upgan.training.presets": ["preset"],
    "upgan.training.processes": ["make_fabric"],
    "upgan.training.publish": ["publish"],
    "upgan.training.runs": ["read_finished"],
    "upgan.training.stage": ["Stage", "plan_stages"],
    "upgan.training.trainer": ["train"],
    "upgan.volume": ["Plane", "Volume", "read_volume", "write_volume"],
}
# And what is still where it was.
KEPT = {
    "upgan.cli": ["main"],
    "upgan.evaluation.metrics": ["HU_RANGE", "SSIM_3D"],
    "upgan.inference": ["InferenceEngine"],
    "upgan.networks.cascade": ["Cascade", "CascadeArchitecture"],
    "upgan.networks.patchgan": ["PatchDiscriminator"],
    "upgan.networks.published": ["load_published_cascade"],
    "upgan.networks.unet": ["ResidualBlock"],
    "upgan.scratch": ["Scratch"],
    "upgan.simulation.dataset": ["simulate_pet_ct_pairs"],
    "upgan.simulation.pet": ["Scanner", "simulate_nac_pet"],
    "upgan.simulation.phantom": ["simulate_head"],
    "upgan.tasks": ["MRI_MOTION", "PET_TO_CT", "Task"],
}

# A network of a few hundred weights that takes a single step.
CONFIG = """
name = "tiny"
data.path = "heads/manifest.json"
split = {train = 1, validation = 1, test = 1}
architecture = {phases = 1, width = 4, deepest = 2}
discriminator = {width = 4, layers = 2}
schedule = {epochs = [1], joint_epochs = 0, epoch_steps = 1, batch = 2}
compute.device = "cpu"
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory, write_pairs):
    """Make a folder with what the examples take for given: a PET image, heads, a site's model, a result."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "heads").mkdir()
    write_pairs(folder / "heads", [1, 2, 3])
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
    whole = read_volume(folder / "heads" / "sub-001_nacpet.nii.gz")
    pet = Volume(whole.voxels[6:10], whole.ijk_to_ras)
    write_volume(pet, folder / "pet.nii.gz")
    write_tiny(folder / "site-model", seasoned_cascade())
    with OutputFolder(folder / "result") as result:
        for name in ("alpha", "beta", "pseudo_ct", "sigma"):
            result.add_volume(f"{name}.nrrd", pet)
        result.add_json("provenance.json", {})
    return folder


def test_importing_the_engine_or_one_of_its_rooms_imports_no_library():
    program = (
        "import importlib, json, sys\n"
        "before = set(sys.modules)\n"
        "for room in json.loads(sys.argv[1]): importlib.import_module(f'upgan.{room}')\n"
        "import upgan; dir(upgan)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(ROOMS)], cwd=PACKAGE.parent, capture_output=True, check=True
    )
    assert set(json.loads(done.stdout)) - sys.stdlib_module_names == {"upgan"}


def test_the_offered_names_are_those_that_mypy_and_editors_are_told_of():
    told = {
        (alias.asname, node.module)
        for block in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        for alias in node.names
    }
    assert told == {(name, getattr(upgan, name).__module__) for name in upgan.__all__}
    assert set(upgan.__all__) <= set(dir(upgan))


def test_a_name_that_nobody_offers_is_an_attribute_error():
    with pytest.raises(AttributeError, match="read_volumes"):
        upgan.read_volumes  # noqa: B018
    assert not hasattr(importlib.import_module("upgan.volume"), "read_volumes")
    assert importlib.util.find_spec("upgan.volumes") is None


@pytest.mark.parametrize("name", upgan.__all__)
def test_every_offered_name_has_an_example_that_runs(name, desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(upgan, name), name, globs={})
    assert example.examples, f"{name} has none"
    outcome = doctest.DocTestRunner(verbose=False).run(example)
    assert outcome.failed == 0, capsys.readouterr().out


def test_the_five_lines_of_the_help_are_those_of_the_readme_and_run(desk, monkeypatch):
    monkeypatch.chdir(desk)
    first, second = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8").partition("## In Python")[2], re.DOTALL
    )
    assert textwrap.indent(first, "    ") in inspect.getdoc(upgan)
    names = {}
    exec(first + second, names)
    assert names["translation"].last.sigma.shape == names["sigma"].voxels.shape


@pytest.mark.parametrize("room", ROOMS)
def test_the_help_names_every_room_with_its_sentence(room):
    sentence = importlib.import_module(f"upgan.{room}").__doc__.partition("\n")[0]
    assert f" {room} {' '.join(sentence.split())} " in " ".join(upgan.__doc__.split())


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PUBLISHED.items() for name in names])
def test_a_published_name_of_a_module_that_is_gone_is_found_and_its_address_said(module, name):
    with pytest.warns(DeprecationWarning, match=r" is .* now\.$") as warned:
        exec(f"from {module} import {name} as found", names := {})
    (said,) = warned
    # The address is one at which the very same thing is imported without a word.
    address = re.fullmatch(rf"{module}\.{name} is (\S+) now\.", str(said.message))[1]
    home, _, same = address.rpartition(".")
    assert getattr(importlib.import_module(home), same) is names["found"]
    assert said.filename == "<string>"  # who has asked, not Python's import


@pytest.mark.filterwarnings("error::DeprecationWarning:upgan")
@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in KEPT.items() for name in names])
def test_a_published_name_is_still_where_it_was(module, name):
    assert hasattr(importlib.import_module(module), name)
