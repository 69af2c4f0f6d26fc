"""A model on disk: a MONAI-bundle folder whose weights are safetensors and whose metadata is JSON. Only data.

    <name>/LICENSE
    <name>/configs/metadata.json    what MONAI's schema asks for, and a section "upgan" with ours
    <name>/docs/README.md           the model card
    <name>/models/model.safetensors

Nothing in a bundle is executed, and a bundle that holds anything executable is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from upgan.domain import Domain
from upgan.errors import BundleError, OutputError
from upgan.evaluation.recalibration import Calibration
from upgan.library import CARD, LICENCE, METADATA, WEIGHTS, installed_models, no_such_model, read_metadata
from upgan.networks.cascade import Cascade, CascadeArchitecture
from upgan.networks.published import PublishedArchitecture, PublishedCascade
from upgan.tasks import Task
from upgan.volume import Plane

# MONAI's published schema of metadata.json (mb_specification, MONAI documentation).
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"

# What a model may be called.
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"

# A bundle is these kinds of files and no others; scripts, pickles and TorchScript among them would be code.
_DATA_SUFFIXES = {".json", ".md", ".txt", ".safetensors", ".png", ".jpg", ".toml", ".yaml", ".yml", ""}

Architecture = Annotated[CascadeArchitecture | PublishedArchitecture, Field(discriminator="name")]
_NETWORKS: dict[type[BaseModel], Any] = {
    CascadeArchitecture: Cascade,
    PublishedArchitecture: PublishedCascade,
}


class ModelSection(BaseModel):
    """The section ``upgan`` of metadata.json: what the engine needs to know.

    Attributes:
        architecture: The networks.
        task: The translation, whole: a bundle may bring a task of its own.
        plane: Of the slices it was trained on.
        spacing_mm: Pixel size (rows, columns) it was trained on.
        domain: What its training inputs were like; unknown in imported and older bundles.
        calibration: How its uncertainty is corrected; not at all in imported and older bundles.
        sha256: Checksums of the weight files, by path within the bundle.
        figures: What was measured, on what; shown on the card.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Architecture
    task: Task
    plane: Plane = "axial"
    spacing_mm: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    domain: Domain | None = None
    calibration: Calibration | None = None
    sha256: dict[str, str]
    figures: dict[str, Any] = {}

    @model_validator(mode="after")
    def _is_calibrated_in_every_phase(self) -> ModelSection:
        if self.calibration is not None and len(self.calibration.scale) != self.architecture.phases:
            raise ValueError(
                f"calibration.scale has {len(self.calibration.scale)} factors for {self.architecture.phases} phases"
            )
        return self


class BundleMetadata(BaseModel):
    """metadata.json: MONAI's fields are kept as they are, ours are validated."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(pattern=rf"^{NAME}$")
    version: str
    description: str
    upgan: ModelSection


@dataclass(frozen=True)
class Bundle:
    """A verified model; made by ``Bundle.open``.

    Attributes:
        folder: Where it lies.
        metadata: What it says of itself.
    """

    folder: Path
    metadata: BundleMetadata

    @classmethod
    def open(cls, folder: str | Path) -> Bundle:
        """Verify a bundle's layout, metadata and checksums.

        Raises:
            BundleError: The first problem found; ``problems`` lists all.
        """
        found = problems(Path(folder))
        if found:
            raise found[0]
        return cls(Path(folder), _read_metadata(Path(folder)))

    @property
    def sha256(self) -> str:
        """Checksum of the weights: the identity of the model."""
        return self.metadata.upgan.sha256[WEIGHTS.as_posix()]

    def load_cascade(self) -> Cascade | PublishedCascade:
        """Build the networks and load the weights as float32, in eval mode.

        Raises:
            BundleError: ``weights_mismatch`` if they are not those of the architecture, ``weights_not_finite`` if
                some are NaN or infinite.
        """
        architecture = self.metadata.upgan.architecture
        # Without memory of its own: metadata may claim any size, but only the weights that are there are loaded.
        with torch.device("meta"):
            cascade: Cascade | PublishedCascade = _NETWORKS[type(architecture)](architecture)
        try:
            state = load_file(self.folder / WEIGHTS)
            cascade.load_state_dict(
                {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()},
                assign=True,
            )
        except (SafetensorError, OSError, RuntimeError) as error:
            raise BundleError(
                "weights_mismatch",
                f"The weights of '{self.metadata.name}' are not those of its architecture.",
                "Get the model again from where it came from.",
            ) from error
        if not all(tensor.isfinite().all() for tensor in state.values()):
            raise BundleError(
                "weights_not_finite",
                f"Some weights of '{self.metadata.name}' are not numbers.",
                "Train it again with a lower learning rate, or get another copy.",
            )
        return cascade.eval()


def problems(folder: Path) -> list[BundleError]:
    """List everything that is wrong with a bundle; empty when it may be used."""
    if not folder.is_dir():
        return [BundleError("bundle_not_found", f"There is no model folder {folder}.", "Check the name or path.")]
    try:
        return _problems(folder)
    except OSError as error:
        sentence = f"The model in {folder} cannot be read: {error.strerror}."
        return [BundleError("bundle_unreadable", sentence, "Change its permissions or get it again.")]


def _problems(folder: Path) -> list[BundleError]:
    found = _foreign_files(folder)
    try:
        metadata = _read_metadata(folder)
    except BundleError as error:
        return [*found, error]
    for name in (LICENCE, CARD):
        if not (folder / name).is_file():
            found.append(
                BundleError(
                    "bundle_incomplete", f"The model has no {name.as_posix()}.", "Ask its authors for the whole model."
                )
            )
    return found + _checksum_problems(folder, metadata.upgan.sha256)


def write_bundle(
    folder: Path,
    cascade: Cascade | PublishedCascade,
    metadata: dict[str, Any],
    section: dict[str, Any],
    card: str,
    licence: str,
) -> Bundle:
    """Write a new bundle with half-precision weights; it appears under its name only when complete.

    Args:
        folder: The bundle's folder, which must not exist yet.
        cascade: The networks.
        metadata: MONAI's fields: name, version, description, authors, …
        section: Fields of ``ModelSection`` but architecture and checksums.
        card: Text of docs/README.md.
        licence: Text of LICENSE.

    Raises:
        OutputError: ``exists`` or ``not_writable``.
    """
    refuse_existing(folder)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for part in (METADATA, WEIGHTS, CARD):
            (draft / part).parent.mkdir(parents=True)
        state = {
            name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
            for name, tensor in cascade.state_dict().items()
        }
        save_file(state, draft / WEIGHTS)
        (draft / WEIGHTS).chmod(0o644)  # safetensors lets nobody else read it
        section = {
            **section,
            "architecture": cascade.architecture.model_dump(mode="json"),
            "sha256": {WEIGHTS.as_posix(): _sha256(draft / WEIGHTS)},
        }
        content = {"schema": SCHEMA, **metadata, "upgan": section}
        (draft / METADATA).write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
        (draft / CARD).write_text(card, encoding="utf-8")
        (draft / LICENCE).write_text(licence, encoding="utf-8")
        BundleMetadata.model_validate(content)
        draft.replace(folder)
    except OSError as error:
        raise OutputError(
            "not_writable", f"The model cannot be written to {folder}: {error.strerror}.", "Choose another folder."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Bundle.open(folder)


def refuse_existing(folder: Path) -> None:
    """Refuse to write a bundle where something is.

    Raises:
        OutputError: ``exists``.
    """
    if folder.exists():
        raise OutputError("exists", f"{folder} exists already.", "Choose another name or remove it first.")


def find_bundle(name_or_path: str | Path) -> Bundle:
    """Open an installed model by name, or any bundle by path.

    Raises:
        BundleError: ``bundle_not_found`` naming the installed models, or what is wrong with the bundle.
    """
    models = installed_models()
    for model in models:
        if model.name == str(name_or_path):
            return Bundle.open(model.folder)
    if not os.path.isdir(name_or_path):
        raise no_such_model(str(name_or_path), models)
    return Bundle.open(name_or_path)


def _read_metadata(folder: Path) -> BundleMetadata:
    again = "Get the model again from where it came from."
    content = read_metadata(folder)
    architecture = content["upgan"].get("architecture")
    name = architecture.get("name") if isinstance(architecture, dict) else None
    known = [model.model_fields["name"].default for model in _NETWORKS]
    if name not in known:
        raise BundleError(
            "unknown_architecture",
            f"The model's architecture '{name}' is not known to this version.",
            f"Update the extension; this version knows {', '.join(known)}.",
        )
    try:
        metadata = BundleMetadata.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(
            "metadata_invalid", f"The model's metadata is wrong at {where}: {first['msg']}.", again
        ) from error
    if WEIGHTS.as_posix() not in metadata.upgan.sha256:
        raise BundleError("checksum_missing", f"The metadata has no checksum of {WEIGHTS.as_posix()}.", again)
    return metadata


def _foreign_files(folder: Path) -> list[BundleError]:
    """Refuse links, and files that could be code: by suffix, and weights by what they hold."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found.append(
                BundleError("bundle_unsafe", f"The model holds a link ({name}).", "Replace it by the file it means.")
            )
        elif path.is_file() and (path.suffix.lower() not in _DATA_SUFFIXES or not _is_plain(path)):
            found.append(
                BundleError(
                    "holds_pickle",
                    f"The model holds {name}, which could carry code and is not opened.",
                    "Use a model whose weights are safetensors only.",
                )
            )
    return found


def _is_plain(path: Path) -> bool:
    """False for a pickle or a zip archive (PyTorch's own format) under a harmless name."""
    with path.open("rb") as file:
        start = file.read(9)
    if path.suffix == ".safetensors":
        return start[8:] == b"{"  # eight bytes of length, then the JSON header
    return not start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))


def _checksum_problems(folder: Path, expected: dict[str, str]) -> list[BundleError]:
    found = []
    for name, sha256 in expected.items():
        path = folder / name.replace("\0", "")  # which no file name holds, and no system call takes
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            found.append(BundleError("weights_missing", f"The model has no {name}.", "Get the model again, complete."))
        elif _sha256(path) != sha256:
            found.append(
                BundleError(
                    "checksum_mismatch",
                    f"{name} is not the file the model was published with.",
                    "Get the model again; do not use this copy.",
                )
            )
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def software_versions() -> dict[str, Any]:
    """Versions that MONAI's schema asks a bundle to state."""
    return {
        "monai_version": "1.5.0",
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {},
    }
