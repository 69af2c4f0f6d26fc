"""The models at hand: those that came with the software, the user's own and imported ones.

    beside the module, or in the wheel    bundled: never changed
    ~/.upgan/models/trained/<name>        made on this computer
    ~/.upgan/models/imported/<name>       brought from elsewhere

``UPGAN_MODELS`` names another place than ``~/.upgan/models``. Listing reads JSON only and needs no torch, so that
Slicer may do it in its own process; an import verifies everything, and the engine does again whenever it opens a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from upgan.bundles.layout import AGAIN, CARD, LICENCE, NAME, WEIGHTS, files_of_model, read_metadata

if TYPE_CHECKING:
    from upgan.bundles.bundle import Bundle

import contextlib
import errno
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from upgan.bundles.strangers import check_names
from upgan.bundles.unpacking import copy_folder, unpack
from upgan.errors import BundleError, OutputError
from upgan.files import draft, explained, home_of, sweep_drafts

Origin = Literal["bundled", "trained", "imported"]

_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)


@dataclass(frozen=True)
class InstalledModel:
    """A model in the library, whether it can be used or not.

    Attributes:
        name: The name by which it is found: its folder's, or ``origin/folder`` where a home before has the same.
        origin: The home in which it lies.
        folder: The model's folder.
        metadata: What it says of itself, as JSON, unverified; empty where it cannot be read.
        problem: What is wrong with it and what to do, as far as a look without reading the weights can tell; else "".
    """

    name: str
    origin: Origin
    folder: Path
    metadata: dict[str, Any]
    problem: str = ""

    def to_json(self) -> dict[str, str]:
        """Return what another process needs to find the model."""
        return {"name": self.name, "origin": self.origin, "folder": str(self.folder), "problem": self.problem}


def models_home() -> Path:
    """Return the folder of the user's models, which need not exist: ``UPGAN_MODELS``, or ``.upgan/models`` at home.

    Raises:
        OutputError: ``no_home`` where the system knows no home folder.
    """
    return home_of("models")


def installed_models() -> list[InstalledModel]:
    """List every model, bundled ones first, then trained, then imported; broken ones say what is wrong with them.

    Example:
        >>> from upgan import installed_models
        >>> [model.name for model in installed_models() if model.origin == "bundled"]
        ['mr-ct-phantom', 'mri-undersampled', 'pet-ct-phantom']
    """
    homes: list[tuple[Origin, Path]] = [("bundled", _bundled_home())]
    with contextlib.suppress(OutputError):  # Without a home folder there are the bundled models.
        homes += [("trained", models_home() / "trained"), ("imported", models_home() / "imported")]
    found: dict[str, InstalledModel] = {}
    for origin, home in homes:
        for folder in _folders(home):
            name = folder.name if folder.name not in found else f"{origin}/{folder.name}"
            found[name] = _look(name, origin, folder)
    return list(found.values())


def import_model(path: str | Path) -> InstalledModel:
    """Verify a model wholly, weights included, and add it to the library; on failure nothing of it remains.

    It keeps its own name; where that is taken by another model, it becomes ``name-2`` and so on.

    Args:
        path: A bundle's folder, or a zip of one with or without a folder around it.

    Raises:
        BundleError: What is wrong with it, or ``already_installed``.
        OutputError: ``not_writable``, ``disk_full`` or ``no_home``.
    """
    from upgan.bundles.bundle import Bundle  # brings torch, which listing does not need

    source = Path(path)
    # By os.path: a name that is too long is none of either, and no error.
    if os.path.isdir(source):
        read_metadata(source)  # before a wrong folder, perhaps a whole disk, is copied
    elif not os.path.isfile(source):
        raise BundleError("bundle_not_found", f"There is no file or folder '{source}'.", "Check the path.")
    home = models_home() / "imported"
    with _place_for(home) as place:
        # Below the place, which only its owner may read: a home may be a group's.
        content = place / "model"
        content.mkdir()
        if source.is_dir():
            copy_folder(source, content)
        else:
            unpack(source, content)
        metadata = read_metadata(content)
        bundle = Bundle.open(content)
        bundle.load_cascade()
        folder = _move_in(content, home, bundle.metadata.name, metadata)
    return InstalledModel(folder.name, "imported", folder, metadata)


def add_trained(name: str, make: Callable[[Path], object]) -> InstalledModel:
    """Let a new model be written to a private folder, and add it to the library when it is whole.

    Args:
        name: The new model's name, which no other may have.
        make: Writes a bundle to the folder it is called with, which does not exist yet; what it raises ends the work,
            and nothing remains.

    Raises:
        BundleError: ``bad_name`` or ``name_taken``.
        OutputError: ``not_writable``, ``disk_full`` or ``no_home``.
    """
    if not re.fullmatch(NAME, name):
        raise BundleError(
            "bad_name",
            f"A model cannot be called '{name}'.",
            "Use letters, digits, hyphens, dots and underscores, 128 at most.",
        )
    check_names([name])
    home = models_home() / "trained"
    _refuse_taken(name)  # before the work
    with _place_for(home) as place:
        content = place / "model"
        make(content)
        metadata = read_metadata(content)
        _refuse_taken(name)
        folder = home / name
        try:
            content.rename(folder)
        except OSError as error:
            if error.errno in _TAKEN:
                raise _name_taken(name) from error
            raise
    return InstalledModel(name, "trained", folder, metadata)


def _refuse_taken(name: str) -> None:
    if name.casefold() in {model.folder.name.casefold() for model in installed_models()}:
        raise _name_taken(name)


def _name_taken(name: str) -> BundleError:
    return BundleError("name_taken", f"There is a model called '{name}' already.", "Choose another name.")


def remove_model(name: str) -> InstalledModel:
    """Delete one of the user's models from the disk and return what it was; those that came with the software stay.

    Args:
        name: The model's name, as ``installed_models`` lists it; a path is not taken.

    Raises:
        BundleError: ``bundle_not_found`` or ``model_is_bundled``.
        OutputError: ``not_writable``.
    """
    models = {model.name: model for model in installed_models()}
    if name not in models:
        raise no_such_model(name, list(models.values()))
    model = models[name]
    if model.origin == "bundled":
        raise BundleError(
            "model_is_bundled",
            f"'{name}' came with the software and cannot be removed.",
            "Choose a model that you imported or trained.",
        )
    # Gone from the list at once and as a whole, however long deleting takes and wherever it stops.
    with _place_for(model.folder.parent) as place:
        model.folder.rename(place / model.folder.name)
    return model


def no_such_model(name: str, models: list[InstalledModel]) -> BundleError:
    """Return the refusal of a name that no model has."""
    names = ", ".join(model.name for model in models) or "none"
    return BundleError(
        "bundle_not_found",
        f"There is no model '{name}'.",
        f"Give the path of a model folder or the name of an installed model ({names}).",
    )


def _bundled_home() -> Path:
    """Return the folder of the bundled models: beside the module (Slicer, checkout), or in the wheel."""
    package = Path(__file__).parents[1]
    beside = package.parent / "Resources" / "Models"
    return beside if beside.is_dir() else package / "models"


def _folders(home: Path) -> list[Path]:
    """Return the folders of a home's models, maybe none; what is hidden is unfinished or the system's."""
    try:
        return sorted(path for path in home.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []


def _look(name: str, origin: Origin, folder: Path) -> InstalledModel:
    try:
        names, faults = files_of_model(folder)
        metadata = {} if faults and not names else read_metadata(folder)
    except BundleError as error:
        return InstalledModel(name, origin, folder, {}, f"{error.sentence} {error.remedy}")
    except OSError as error:
        return InstalledModel(name, origin, folder, {}, f"The model cannot be read: {error.strerror or error}. {AGAIN}")
    for fault in faults:
        return InstalledModel(name, origin, folder, metadata, f"{fault.sentence} {fault.remedy}")
    for part in (WEIGHTS, CARD, LICENCE):
        if part.as_posix() not in names:
            return InstalledModel(name, origin, folder, metadata, f"The model has no {part.as_posix()}. {AGAIN}")
    return InstalledModel(name, origin, folder, metadata)


@contextlib.contextmanager
def _place_for(home: Path) -> Iterator[Path]:
    """Make a draft's folder in a home of models, from which drafts of killed processes are removed.

    Raises:
        OutputError: ``disk_full``, or ``not_writable`` for any other fault of the disk meanwhile.
    """
    remedy = (
        "Free some space, end what uses them, change the folder's permissions, or set the environment variable "
        "UPGAN_MODELS to a folder of yours."
    )
    with explained(f"The models in {home}", remedy), draft(home) as place:
        sweep_drafts(home)
        yield place


def _move_in(content: Path, home: Path, wanted: str, metadata: dict[str, Any]) -> Path:
    """Give a verified model its place in a home, as one rename; a name that another process takes first is left to it.

    Raises:
        BundleError: ``already_installed``.
    """
    while True:
        # Looked at before the models: a second copy that arrives in between is seen as one, not as another model whose
        # name is taken; one that arrives later takes the name chosen here.
        taken = {path.name for path in home.iterdir()}
        models = installed_models()
        _refuse_second_copy(metadata, models)
        folder = home / _free_name(wanted, taken | {model.folder.name for model in models})
        try:
            return content.rename(folder)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise


def _refuse_second_copy(metadata: dict[str, Any], models: list[InstalledModel]) -> None:
    """Raise where the same weights with the same metadata are installed and whole."""
    from upgan.bundles.bundle import problems

    identity = json.dumps(metadata, sort_keys=True)  # the metadata hold the checksum of the weights
    for model in models:
        if json.dumps(model.metadata, sort_keys=True) == identity and not problems(model.folder):
            raise BundleError(
                "already_installed",
                f"The model is installed already: '{model.name}' ({model.origin}).",
                "Choose it in the list of models.",
            )


def _free_name(wanted: str, taken: set[str]) -> str:
    """Return the name itself, or with the first number that no model has; some disks know no upper and lower case."""
    folded = {name.casefold() for name in taken}
    candidates = itertools.chain([wanted], (f"{wanted}-{number}" for number in itertools.count(2)))
    return next(name for name in candidates if name.casefold() not in folded)


def find_bundle(name_or_path: str | Path) -> Bundle:
    """Open an installed model by name, or any bundle by path.

    Raises:
        BundleError: ``bundle_not_found`` naming the installed models, or what is wrong with the bundle.

    Example:
        >>> from upgan import find_bundle
        >>> bundle = find_bundle("pet-ct-phantom")
        >>> bundle.metadata.upgan.task.title, bundle.metadata.upgan.spacing_mm
        ('NAC-PET → pseudo-CT', (2.0, 2.0))
    """
    from upgan.bundles.bundle import Bundle  # brings torch, which listing does not need

    models = installed_models()
    for model in models:
        if model.name == str(name_or_path):
            return Bundle.open(model.folder)
    if not os.path.isdir(name_or_path):
        raise no_such_model(str(name_or_path), models)
    return Bundle.open(name_or_path)
