"""What must be installed, asked before it is, and nothing of Slicer's own replaced."""

# Slicer's own names.
# ruff: noqa: N802, N803

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from packaging.requirements import Requirement

from UncertaintyGuidedI2ILib import dependencies
from upgan.errors import UpganError


@pytest.fixture
def installed(monkeypatch):
    """What pip knows of; a test adds to it what an installer would."""
    versions = {"torch": "2.6.0", "numpy": "2.1.0", "nibabel": "5.3.0", "safetensors": "0.5.0", "pydantic": "2.11"}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    def find_spec(name):
        return SimpleNamespace(name=name) if name in versions or name in sys.modules else None

    monkeypatch.setattr(dependencies.importlib.metadata, "version", version)
    monkeypatch.setattr(dependencies.importlib.util, "find_spec", find_spec)
    return versions


@pytest.fixture
def slicer(monkeypatch, installed):
    """Slicer 5.10's installer, which notes what it was asked for."""
    stub = ModuleType("slicer")
    stub.util = ModuleType("slicer.util")
    stub.asked = []

    def pip_install(arguments):
        stub.asked.append(arguments)
        installed.update({argument.split(">=")[0]: "99" for argument in arguments if ">=" in argument})

    stub.util.pip_install = pip_install
    monkeypatch.setitem(sys.modules, "slicer", stub)
    monkeypatch.setitem(sys.modules, "slicer.util", stub.util)
    for name in ("slicer.packaging", "slicer.pydeps"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return stub


@pytest.fixture
def pytorch_extension(monkeypatch, installed):
    stub = ModuleType("PyTorchUtils")
    stub.asked = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False, torchVersionRequirement=None):
            stub.asked.append((askConfirmation, torchVersionRequirement))
            installed["torch"] = "2.6.0"
            return object()

    stub.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", stub)
    return stub


@pytest.mark.parametrize(
    "file", [dependencies.TRANSLATING, dependencies.CHECKING, dependencies.TRAINING], ids=lambda file: file.stem
)
def test_slicers_own_packages_are_not_required_from_pypi(file):
    names = {line.split(">=")[0].lower() for line in dependencies.requirements(file)}
    assert names
    assert not names & {"torch", "numpy", "simpleitk", "pydicom", "scipy", "vtk"}
    assert all(">=" in line and "==" not in line for line in dependencies.requirements(file))


def test_the_requirements_agree_with_those_of_the_engines_own_package(root):
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert {*dependencies.requirements(dependencies.TRANSLATING), dependencies.TORCH} <= set(project["dependencies"])
    extras = project["optional-dependencies"]
    assert set(dependencies.requirements(dependencies.CHECKING)) <= set(extras["report"])
    assert set(dependencies.requirements(dependencies.TRAINING)) == set(extras["train"])


def test_checking_needs_more_than_translating(installed, monkeypatch):
    assert dependencies.missing() == []
    assert dependencies.missing(dependencies.TRANSLATING, dependencies.CHECKING) == ["scikit-image>=0.22"]
    installed["scikit-image"] = "0.25"
    monkeypatch.setitem(sys.modules, "skimage", ModuleType("skimage"))
    assert dependencies.missing(dependencies.TRANSLATING, dependencies.CHECKING) == []


def test_what_training_needs_is_looked_for_under_the_names_it_is_imported_by(installed, monkeypatch):
    needed = dependencies.requirements(dependencies.TRAINING)
    assert dependencies.missing(dependencies.TRANSLATING, dependencies.TRAINING) == needed
    installed.update({line.split(">=")[0]: "99" for line in needed})
    for name in ("skimage", "lightning_fabric", "tensorboardX", "torchio"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert dependencies.missing(dependencies.TRANSLATING, dependencies.TRAINING) == []


def test_where_everything_is_installed_nobody_is_asked(installed):
    assert dependencies.missing() == []
    assert dependencies.ensureInstalled(lambda question: pytest.fail(question))


def test_a_version_that_is_too_old_counts_as_missing(installed):
    installed["nibabel"] = "4.0"
    assert dependencies.missing() == ["nibabel>=5.2"]


def test_the_user_is_asked_first_and_may_decline(installed, slicer):
    del installed["nibabel"]
    questions = []
    assert not dependencies.ensureInstalled(lambda question: questions.append(question))
    assert len(questions) == 1
    assert "nibabel" in questions[0]
    assert slicer.asked == []


def test_only_what_is_missing_is_installed_and_slicers_packages_are_pinned(installed, slicer, monkeypatch):
    del installed["safetensors"]
    constraints = []
    original = slicer.util.pip_install

    def read_constraints(arguments):
        with open(arguments[arguments.index("-c") + 1]) as file:
            constraints.extend(file.read().split())
        original(arguments)

    monkeypatch.setattr(slicer.util, "pip_install", read_constraints)
    assert dependencies.ensureInstalled(lambda question: True)
    assert slicer.asked[0][0] == "safetensors>=0.4.3"
    assert constraints == ["numpy==2.1.0", "torch==2.6.0"]


def test_torch_comes_through_the_pytorch_extension(installed, slicer, pytorch_extension):
    del installed["torch"]
    assert dependencies.ensureInstalled(lambda question: True)
    assert pytorch_extension.asked == [(False, ">=2.5")]
    assert slicer.asked == []


def test_without_the_pytorch_extension_the_remedy_names_it(installed, slicer):
    del installed["torch"]
    with pytest.raises(UpganError) as error:
        dependencies.ensureInstalled(lambda question: True)
    assert error.value.code == "pytorch_extension_missing"
    assert "Extensions Manager" in error.value.remedy


def packaging_module(name, installed, calls):
    """Slicer 5.12's installer: it takes parsed requirements, not text."""
    packaging = ModuleType(name)

    def load_requirements(path):
        lines = (line.strip() for line in Path(path).read_text().splitlines())
        return [Requirement(line) for line in lines if line and not line.startswith("#")]

    def pip_ensure(
        requirements,
        constraints=None,
        skip_packages=None,
        prompt_install=True,
        prompt_restart=True,
        requester=None,
        skip_in_testing=True,
        show_progress=True,
    ):
        wanted = [requirement for requirement in requirements if not requirement.marker]
        calls.append(([str(requirement) for requirement in wanted], Path(constraints).read_text(), prompt_install))
        installed.update({requirement.name: "99" for requirement in wanted})

    packaging.load_requirements, packaging.pip_ensure = load_requirements, pip_ensure
    return packaging


@pytest.mark.parametrize("name", ["slicer.packaging", "slicer.pydeps"])
def test_newer_slicers_install_through_their_packaging_module(name, installed, slicer, monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, name, packaging_module(name, installed, calls))
    del installed["pydantic"]
    assert dependencies.ensureInstalled(lambda question: True)
    ((requirements, constraints, prompt),) = calls
    assert requirements == dependencies.requirements(dependencies.TRANSLATING)
    assert "numpy==2.1.0" in constraints
    # The question was asked already.
    assert prompt is False
    assert slicer.asked == []


def test_a_packaging_module_without_the_installer_is_not_used(installed, slicer, monkeypatch):
    monkeypatch.setitem(sys.modules, "slicer.packaging", ModuleType("slicer.packaging"))
    del installed["pydantic"]
    assert dependencies.ensureInstalled(lambda question: True)
    assert slicer.asked[0][0] == "pydantic>=2.7"


def test_a_failed_installation_is_an_error_with_a_remedy(installed, slicer, monkeypatch):
    def fail(arguments):
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(slicer.util, "pip_install", fail)
    del installed["pydantic"]
    with pytest.raises(UpganError) as error:
        dependencies.ensureInstalled(lambda question: True)
    assert error.value.code == "installation_failed"


def test_an_installer_that_installed_nothing_is_noticed(installed, slicer, monkeypatch):
    monkeypatch.setattr(slicer.util, "pip_install", lambda arguments: None)
    del installed["pydantic"]
    with pytest.raises(UpganError, match="still missing: pydantic"):
        dependencies.ensureInstalled(lambda question: True)
