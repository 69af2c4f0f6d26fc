"""Which files belong together: the pairs of a manifest, a table or a folder, found without opening an image."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from upgan.errors import InputError
from upgan.files import read_regular
from upgan.pairs.config import DataConfig
from upgan.pairs.patterns import Pattern

Part = Literal["train", "validation", "test"]

_COLUMNS = ("subject", "input", "target", "split")

# As BIDS labels the sessions of a patient, and as others do: better one patient too few than one in two parts.
_SESSION = re.compile(
    r"(?:_ses-[0-9A-Za-z+]+|[ ._-](?:ses|session|visit|scan|exam|timepoint|tp)[ ._-]?\d[0-9A-Za-z+]*)$", re.IGNORECASE
)

_IXI = re.compile(r"(?P<subject>IXI\d+)-[^-]+-\d+-T1\.nii(\.gz)?")

# A list of pairs has some hundred bytes a subject.
_LARGEST_LIST = 8 << 20

# Of a label: it is shown in tables, and stands in every line about its subject.
_LONGEST_LABEL = 200


@dataclass(frozen=True)
class PairFiles:
    """The files of one subject.

    Attributes:
        subject: The subject's label, unique in a set; those of a patient's sessions end in ``_ses-<label>``.
        input: The input's file, or folder of a DICOM series; None where missing, or where a degradation makes it.
        target: The target's file, or folder of a DICOM series; None where missing.
        split: The part of the split that a table assigns; None where it assigns none.
    """

    subject: str
    input: Path | None
    target: Path | None
    split: Part | None = None

    @property
    def patient(self) -> str:
        """Whom the images show: the subject without the session. A split keeps a patient's sessions together."""
        return _SESSION.sub("", self.subject)


def file_stem(subject: str) -> str:
    """Name a subject's own files: short, and without the label, which may name the patient and is never a path."""
    return hashlib.sha256(subject.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def find_pairs(data: DataConfig) -> list[PairFiles]:
    """Find all pairs, sorted by subject; a side that is not there is None.

    A subject that is listed several times is taken as several sessions of one patient.

    Raises:
        InputError: ``data_not_found``, ``no_pairs``, ``manifest_unreadable``, ``csv_unreadable``, ``csv_columns``,
            ``csv_row``, ``bad_pattern``, ``ambiguous_files``, ``duplicate_subject`` or ``bad_label``.
    """
    if not os.path.exists(data.path):  # False, too, for what no file can be called.
        raise InputError("data_not_found", f"There is no file or folder '{data.path.name}'.", "Check data.path.")
    finders: dict[str, Callable[[DataConfig], list[PairFiles]]] = {
        "manifest": _from_manifest,
        "csv": _from_csv,
        "pattern": _from_pattern,
        "bids": _from_bids,
        "ixi": _from_ixi,
    }
    pairs = _label_sessions(finders[data.layout](data))
    if not pairs:
        raise InputError(
            "no_pairs",
            f"No images were found in '{data.path.name}' with the layout '{data.layout}'.",
            _EXPECTED[data.layout],
        )
    for pair in pairs:
        _check_label(pair.subject)
    if data.degradation != "none":
        pairs = [replace(pair, input=None) for pair in pairs]
    return sorted(pairs, key=lambda pair: pair.subject)


_EXPECTED = {
    "manifest": "Add subjects to the manifest.",
    "csv": "Add a row for each subject.",
    "pattern": "Compare the patterns with the names of the files; they begin below the folder given as data.path.",
    "bids": "Expected are files such as sub-01/pet/sub-01_pet.nii.gz, also below ses-… folders.",
    "ixi": "Expected are files such as IXI002-Guys-0828-T1.nii.gz, as they come in the archive IXI-T1.tar.",
}


def _label_sessions(pairs: list[PairFiles]) -> list[PairFiles]:
    counts = Counter(pair.subject for pair in pairs)
    seen: Counter[str] = Counter()
    labelled = []
    for pair in pairs:
        seen[pair.subject] += 1
        repeated = counts[pair.subject] > 1
        labelled.append(replace(pair, subject=f"{pair.subject}_ses-{seen[pair.subject]}") if repeated else pair)
    subject, count = Counter(pair.subject for pair in labelled).most_common(1)[0] if labelled else ("", 0)
    if count > 1:
        raise InputError("duplicate_subject", f"The subject {subject} is there twice.", "Give each a label of its own.")
    return labelled


def similar_patients(pairs: Iterable[PairFiles]) -> list[tuple[str, str]]:
    """Find patients whose labels only a computer tells apart: by capitals, spaces, or the way characters are coded."""
    labels: dict[str, list[str]] = {}
    for patient in sorted({pair.patient for pair in pairs}):
        folded = " ".join(unicodedata.normalize("NFKC", patient).casefold().split())
        labels.setdefault(folded, []).append(patient)
    return [(alike[0], other) for alike in labels.values() for other in alike[1:]]


def _check_label(subject: str) -> None:
    """Refuse what tables and terminals do not show as it is, such as line ends, escapes and halves of characters."""
    if subject.isprintable() and subject.strip() and len(subject) <= _LONGEST_LABEL:
        return
    shown = ascii(subject)
    raise InputError(
        "bad_label",
        f"A subject is called {shown if len(shown) <= 80 else shown[:79] + '…'}, which cannot be shown as it is.",
        f"Give it a label of printable characters, no more than {_LONGEST_LABEL}.",
    )


# --- Lists of files ---------------------------------------------------------------------------------------------------


def _from_manifest(data: DataConfig) -> list[PairFiles]:
    """Read the manifest that `upgan simulate` writes beside its images."""
    path = manifest_path(data)
    try:
        content = _manifest(path)
        names = {side: content.get(side) for side in ("input", "target")}
        return [
            PairFiles(
                _label(entry["subject"]),
                _beside(path, entry.get(names["input"])),
                _beside(path, entry.get(names["target"])),
            )
            for entry in content["subjects"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            "manifest_unreadable",
            f"'{path.name}' is not a readable manifest of pairs.",
            "Make one with `upgan simulate`, or check its path.",
        ) from error


def manifest_path(data: DataConfig) -> Path:
    """Return where the manifest of a set is, whether it or its folder is named."""
    return data.path / "manifest.json" if data.path.is_dir() else data.path


def statement_of(data: DataConfig) -> str:
    """Read what a manifest says of its images; other layouts say nothing."""
    if data.layout != "manifest":
        return ""
    try:
        statement = _manifest(manifest_path(data)).get("statement", "")
    except (OSError, ValueError, RecursionError):  # It was read a moment ago.
        return ""
    return statement if isinstance(statement, str) else ""


def _manifest(path: Path) -> dict[str, Any]:
    content = json.loads(read_regular(path, _LARGEST_LIST).decode("utf-8"))
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    return content


def _label(subject: Any) -> str:
    if not isinstance(subject, str | int) or isinstance(subject, bool):
        raise ValueError("a label is text or a number")
    return str(subject)


def _from_csv(data: DataConfig) -> list[PairFiles]:
    """Read a table with the columns subject, input, target and, if wanted, split, with commas or semicolons."""
    path = data.path
    try:
        lines = read_regular(path, _LARGEST_LIST).decode("utf-8-sig").splitlines()
        header = lines[0] if lines else ""
        delimiter = max(",;\t", key=header.count)
        rows = csv.reader(lines, delimiter=delimiter)
        table = [(rows.line_num, row) for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            "csv_unreadable", f"'{path.name}' is not a readable table.", "Save it as CSV in UTF-8."
        ) from error
    columns = [name.strip().lower() for name in (table[0][1] if table else [])]
    _check_columns(path, columns, needs_input=data.degradation == "none")
    return [_pair_of(path, line, columns, row) for line, row in table[1:] if any(cell.strip() for cell in row)]


def _check_columns(path: Path, columns: list[str], *, needs_input: bool) -> None:
    needed = ["subject", "input", "target"] if needs_input else ["subject", "target"]
    faults = {
        "lacks": [name for name in needed if name not in columns],
        "has unknown": [name or "(without name)" for name in columns if name not in _COLUMNS],
        "repeats": [name for name in _COLUMNS if columns.count(name) > 1],
    }
    for fault, names in faults.items():
        if names:
            raise InputError(
                "csv_columns",
                f"The table '{path.name}' {fault} columns: {', '.join(names)}.",
                "Name the columns subject, input, target and, if wanted, split in the first line.",
            )


def _pair_of(path: Path, line: int, columns: list[str], row: list[str]) -> PairFiles:
    cells = {name: cell.strip() for name, cell in zip(columns, row, strict=False)}
    fault = ""
    if len(row) > len(columns) and any(cell.strip() for cell in row[len(columns) :]):
        fault = f"has {len(row)} cells instead of {len(columns)}"
    elif not cells["subject"]:
        fault = "names no subject"
    split = cells.get("split", "").lower()
    if split and split not in get_args(Part):
        fault = f"has the split '{split}', which is none of {', '.join(get_args(Part))}"
    if fault:
        raise InputError("csv_row", f"Line {line} of '{path.name}' {fault}.", "Correct that line.")
    source, target = (_beside(path, cells.get(side)) for side in ("input", "target"))
    return PairFiles(cells["subject"], source, target, cast(Part, split) if split else None)


def _beside(path: Path, name: str | None) -> Path | None:
    """Resolve a name that is relative to the file it stands in."""
    return path.parent / name if name else None


# --- Folders ----------------------------------------------------------------------------------------------------------


def _from_pattern(data: DataConfig) -> list[PairFiles]:
    """Match the files below a folder; ``{subject}`` stands for the same label wherever it occurs."""
    targets = dict(_unique(_matches(data.path, data.target)))
    inputs = dict(_unique(_matches(data.path, data.input))) if data.degradation == "none" else {}
    return [PairFiles(subject, inputs.get(subject), targets.get(subject)) for subject in {**inputs, **targets}]


def _matches(folder: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    return Pattern.of(pattern).find(folder)


def _from_bids(data: DataConfig) -> list[PairFiles]:
    """Match sub-*/[ses-*/]…/sub-*_<suffix>.nii[.gz]; each session is a subject of its own."""
    targets = dict(_unique(_bids_matches(data.path, data.target)))
    inputs = dict(_unique(_bids_matches(data.path, data.input))) if data.degradation == "none" else {}
    return [PairFiles(subject, inputs.get(subject), targets.get(subject)) for subject in {**inputs, **targets}]


def _bids_matches(folder: Path, suffix: str) -> Iterator[tuple[str, Path]]:
    for label, path in Pattern.of("sub-{subject}/**/sub-{subject}_*.nii*").find(folder):
        if re.fullmatch(rf".*_{re.escape(suffix)}\.nii(\.gz)?", path.name):
            patient = f"sub-{label}"
            session = next((part for part in path.relative_to(folder / patient).parts if part.startswith("ses-")), None)
            yield f"{patient}_{session}" if session else patient, path


def _unique(found: Iterator[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    """Refuse subjects with several files for one side: which is meant is the user's to say."""
    seen: dict[str, Path] = {}
    for subject, path in sorted(found):
        if subject in seen:
            raise InputError(
                "ambiguous_files",
                f"Of {subject} both '{seen[subject].name}' and '{path.name}' match.",
                "Make the pattern or suffix narrower, so that one file of each subject matches.",
            )
        seen[subject] = path
        yield subject, path


def _from_ixi(data: DataConfig) -> list[PairFiles]:
    """Match the T1 images of the IXI data set as they are downloaded, in their folder or beside the others."""
    paths = sorted(path for _, path in Pattern.of("**/IXI{subject}-T1.nii*").find(data.path))
    names = ((_IXI.fullmatch(path.name), path) for path in paths)
    return [PairFiles(found["subject"], None, path) for found, path in names if found]
