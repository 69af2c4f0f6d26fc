"""What the engine needs beside Slicer, whether it is there, and how it comes in: asked for, never at import."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

RESOURCES = Path(__file__).parent.parent / "Resources"
TRANSLATING = RESOURCES / "requirements.txt"
# Beside those for translating.
CHECKING = RESOURCES / "requirements-check.txt"
TRAINING = RESOURCES / "requirements-train.txt"
# torch.OutOfMemoryError, which the engine catches, exists from 2.5.
TORCH = "torch>=2.5"

IMPORT_NAMES = {"lightning-fabric": "lightning_fabric", "scikit-image": "skimage"}

# Slicer's own builds: an installer must leave them as they are.
KEEP = ("numpy", "scipy", "SimpleITK", "pydicom", "torch", "vtk")


def requirements(file: Path) -> list[str]:
    """Return the packages from PyPI that a requirements file names; torch is not among them."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def missing(*files: Path) -> list[str]:
    """Return the requirements that are not installed or too old; imports none of them.

    Args:
        files: Requirements files, to which torch is added; those for translating where none is given.
    """
    needed = [TORCH, *(line for file in files or (TRANSLATING,) for line in requirements(file))]
    return [requirement for requirement in needed if not _isInstalled(requirement)]


def refuseMissing(*files: Path) -> None:
    """Refuse to go on without packages.

    Args:
        files: Requirements files, as ``missing`` takes them.

    Raises:
        UpganError: ``package_missing``.
    """
    from upgan.errors import UpganError

    needed = missing(*files)
    if needed:
        raise UpganError(
            "package_missing",
            f"Training needs packages that are not installed yet: {', '.join(needed)}.",
            "Let the panel Train of the module install them.",
        )


def ensureInstalled(confirm: Callable[[str], bool], *files: Path) -> bool:
    """Install what is missing, after asking.

    Args:
        confirm: Shows a question to the user and returns the answer.
        files: Requirements files, as ``missing`` takes them.

    Returns:
        Whether everything is there now; False where the user declined.

    Raises:
        UpganError: ``pytorch_extension_missing`` or ``installation_failed``.
    """
    files = files or (TRANSLATING,)
    needed = missing(*files)
    if not needed:
        return True
    if not confirm(
        "This needs packages that are not installed yet: "
        + ", ".join(needed)
        + ". They are downloaded from the internet, which may take several minutes. Install them now?"
    ):
        return False
    if TORCH in needed:
        _installTorch()
    for file in files:
        others = [requirement for requirement in requirements(file) if requirement in needed]
        if others:
            _installFromPyPI(file, others)
    importlib.invalidate_caches()
    still = missing(*files)
    if still:
        raise _failure(f"After the installation these packages are still missing: {', '.join(still)}.")
    return True


def _isInstalled(requirement: str) -> bool:
    # Slicer ships `packaging`, but a module must not depend on it while being imported.
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    # Metadata can outlive an interrupted removal, so the package itself must be found too.
    return (
        wanted.specifier.contains(version, prereleases=True)
        and importlib.util.find_spec(IMPORT_NAMES.get(wanted.name, wanted.name)) is not None
    )


def _installTorch() -> None:
    """Let the PyTorch extension choose the build that fits this machine's graphics driver."""
    from upgan.errors import UpganError

    if importlib.util.find_spec("PyTorchUtils") is None:
        raise UpganError(
            "pytorch_extension_missing",
            "The PyTorch extension of Slicer is not installed.",
            "Install 'PyTorch' in the Extensions Manager and restart Slicer.",
        )
    PyTorchUtils = importlib.import_module("PyTorchUtils")
    logic = PyTorchUtils.PyTorchUtilsLogic()
    specifier = TORCH.removeprefix("torch")
    # Asked already: the one question above named torch and its download.
    if logic.installTorch(askConfirmation=False, torchVersionRequirement=specifier) is None:
        raise _failure("PyTorch could not be installed.")


def _installFromPyPI(file: Path, needed: list[str]) -> None:
    import subprocess

    import slicer

    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(_keepAsTheyAre()), encoding="utf-8")
        try:
            packaging = _slicerPackaging()
            if packaging is not None:
                # It checks for itself what of the file is missing.
                packaging.pip_ensure(
                    packaging.load_requirements(file),
                    constraints=constraints,
                    prompt_install=False,
                    requester="UncertaintyGuidedI2I",
                    skip_in_testing=False,
                )
            else:
                slicer.util.pip_install([*needed, "-c", str(constraints)])
        except (subprocess.CalledProcessError, RuntimeError) as error:
            raise _failure("The packages could not be installed.") from error


def _slicerPackaging() -> ModuleType | None:
    """Return slicer.packaging where this Slicer has it (5.12): it shows progress and knows when to restart."""
    # Some previews of Slicer call it pydeps; what it can do counts, not the version.
    for name in ("slicer.packaging", "slicer.pydeps"):
        try:
            packaging = importlib.import_module(name)
        except ImportError:
            continue
        if hasattr(packaging, "pip_ensure") and hasattr(packaging, "load_requirements"):
            return packaging
    return None


def _keepAsTheyAre() -> list[str]:
    """Return constraints that pin the packages which Slicer or the PyTorch extension brought."""
    pins = []
    for name in KEEP:
        try:
            pins.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return pins


def _failure(sentence: str) -> Exception:
    from upgan.errors import UpganError

    return UpganError(
        "installation_failed", sentence, "Check the internet connection and the Python console, then try again."
    )
