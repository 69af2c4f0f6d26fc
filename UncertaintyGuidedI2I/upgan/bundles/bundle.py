"""A model on disk: a MONAI-bundle folder whose weights are safetensors and whose metadata is JSON. Only data.

    <name>/LICENSE
    <name>/configs/metadata.json    what MONAI's schema asks for, and a section "upgan" with ours
    <name>/docs/README.md           the model card
    <name>/models/model.safetensors

These four, and pictures and texts beside the card, are all there is: a bundle with any other file is refused. Nothing
in it is executed, unpickled or evaluated.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from upgan.bundles.layout import CARD, LICENCE, METADATA, WEIGHTS, files_of_model, read_metadata
from upgan.bundles.layout import NAME as NAME
from upgan.bundles.metadata import FORMAT, checked_metadata
from upgan.bundles.metadata import BundleMetadata as BundleMetadata
from upgan.bundles.metadata import ModelSection as ModelSection
from upgan.errors import BundleError, InputError, OutputError
from upgan.files import draft, explained, open_plain
from upgan.networks.architecture import Architecture as Architecture
from upgan.networks.build import Network, build
from upgan.networks.cost import counted_cost
from upgan.networks.weights import checksum_mismatch, load_weights
from upgan.plain_json import without_nan

# MONAI's published schema of metadata.json (mb_specification, MONAI documentation).
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"

_LONGEST_LICENCE = 1 << 20
_ROW = re.compile(r"\[\n[-+.\deE,\s]+\]")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """A verified model; made by ``Bundle.open``.

    Attributes:
        folder: The model's folder.
        metadata: What the model says of itself, read and validated.
    """

    folder: Path
    metadata: BundleMetadata

    @classmethod
    def open(cls, folder: str | Path) -> Bundle:
        """Verify a bundle's layout, metadata and checksums.

        Raises:
            BundleError: The first problem found; ``problems`` lists all.
        """
        found, metadata = _examined(Path(folder))
        if found or metadata is None:
            raise found[0]
        return cls(Path(folder), metadata)

    @property
    def sha256(self) -> str:
        """SHA-256 of the file of weights: the identity of the model."""
        return self.metadata.upgan.sha256[WEIGHTS.as_posix()]

    def load_cascade(self) -> Network:
        """Build the networks and load the weights as float32, in eval mode.

        Raises:
            BundleError: ``weights_mismatch`` if they are not those of the architecture, ``checksum_mismatch`` if they
                have changed since the bundle was opened, ``weights_not_finite`` if some are NaN, infinite or variances
                below zero.
        """
        # Without memory of its own: metadata may claim any size, but only the weights that are there are loaded.
        with torch.device("meta"):
            cascade = build(self.metadata.upgan.architecture)
        state = load_weights(self.folder / WEIGHTS, self.sha256, cascade, self.metadata.name)
        cascade.load_state_dict(state, assign=True)
        return cascade.eval()


def problems(folder: Path) -> list[BundleError]:
    """List everything that is wrong with a bundle; empty when it may be used."""
    return _examined(folder)[0]


def _examined(folder: Path) -> tuple[list[BundleError], BundleMetadata | None]:
    """Return everything that is wrong with a bundle, and its metadata where they can be read."""
    if not folder.is_dir():
        return [BundleError("bundle_not_found", f"There is no model folder {folder}.", "Check the name or path.")], None
    try:
        names, found = files_of_model(folder)
        if found and not names:  # Nothing more is opened in such a folder.
            return found, None
        try:
            metadata = checked_metadata(read_metadata(folder))
        except BundleError as error:
            return [*found, error], None
        missing = [part.as_posix() for part in (LICENCE, CARD) if part.as_posix() not in names]
        remedy = "Ask its authors for the whole model."
        found += [BundleError("bundle_incomplete", f"The model has no {name}.", remedy) for name in missing]
        return found + _checksum_problems(folder, names, metadata.upgan.sha256), metadata
    except OSError as error:
        sentence = f"The model in {folder} cannot be read: {error.strerror}."
        return [BundleError("bundle_unreadable", sentence, "Change its permissions or get it again.")], None


def write_bundle(
    folder: Path,
    cascade: Network,
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
        section: Fields of ``upgan.bundles.metadata.ModelSection`` but format, architecture, cost and checksums.
        card: The text of the model card, docs/README.md.
        licence: The text of LICENSE.

    Raises:
        OutputError: ``exists``, ``disk_full`` or ``not_writable``.
    """
    refuse_existing(folder)
    with explained(f"The model {folder}"), draft(folder.parent) as place:
        content = place / folder.name
        for part in (METADATA, WEIGHTS, CARD):
            (content / part).parent.mkdir(parents=True)
        state = {
            name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
            for name, tensor in cascade.state_dict().items()
        }
        save_file(state, content / WEIGHTS)
        (content / WEIGHTS).chmod(0o644)  # safetensors lets nobody else read it
        section = {
            "format": FORMAT,
            **section,
            "architecture": cascade.architecture.model_dump(mode="json"),
            "cost": counted_cost(cascade.architecture).model_dump(),
            "sha256": {WEIGHTS.as_posix(): _sha256(content / WEIGHTS)},
        }
        # As ``read_metadata`` has it: a figure may be without value.
        stated = without_nan({"schema": SCHEMA, **metadata, "upgan": section})
        text = json.dumps(stated, indent=4, ensure_ascii=False, allow_nan=False)
        # Rows of numbers on one line each; a string holds no line break of its own, so that none is touched.
        text = _ROW.sub(lambda row: " ".join(row[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
        (content / METADATA).write_text(f"{text}\n", encoding="utf-8")
        (content / CARD).write_text(card, encoding="utf-8")
        (content / LICENCE).write_text(licence, encoding="utf-8")
        BundleMetadata.model_validate(stated)
        content.replace(folder)
    return Bundle.open(folder)


def read_licence(path: Path) -> str:
    """Read the text of a licence from a file of the user's: UTF-8, or else Latin-1, as old ones are.

    Raises:
        InputError: ``licence_unreadable``.
    """
    try:
        with open_plain(path, follow=True) as file:
            content = file.read(_LONGEST_LICENCE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            "licence_unreadable", f"The licence {path} cannot be read: {reason}.", "Give a text file with the licence."
        ) from error
    if len(content) > _LONGEST_LICENCE or b"\0" in content:
        raise InputError(
            "licence_unreadable", f"The licence {path} is not text.", "Give a text file with the licence, in UTF-8."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def refuse_existing(folder: Path) -> None:
    """Refuse to write a bundle where something is.

    Raises:
        OutputError: ``exists``.
    """
    if folder.exists():
        raise OutputError("exists", f"{folder} exists already.", "Choose another name or remove it first.")


def _checksum_problems(folder: Path, names: list[str], expected: dict[str, str]) -> list[BundleError]:
    """Compare the checksums of files that are there, each once whatever ways of writing its name the metadata have."""
    found = []
    for name, sha256 in expected.items():
        if name not in names:
            found.append(
                BundleError("weights_missing", f"The model has no {name[:100]}.", "Get the model again, complete.")
            )
        elif _sha256(folder / name) != sha256:
            found.append(checksum_mismatch(name))
    return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_plain(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def software_versions() -> dict[str, Any]:
    """Return the versions that MONAI's schema asks a bundle to state, as fields of metadata.json."""
    return {
        "monai_version": "1.5.0",
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {},
    }
