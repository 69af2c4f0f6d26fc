"""The card that tells a reader what a model can and cannot do.

What a card shows was written by strangers: it is text, never markup, and nothing in it is fetched or followed.
"""

from __future__ import annotations

import html
import json
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.models import modelLabel
from UncertaintyGuidedI2ILib.text import shownUnit, withoutHidden

if TYPE_CHECKING:
    from upgan.bundles.library import InstalledModel

_LONGEST = 600  # characters of any one statement
_MODALITIES = {"PT": "PET", "MR": "MRI"}
_MOST_PHASES = 3  # columns of figures that fit into a panel

_NOT_FOR_PATIENTS = re.compile(r"\b(not|no|never|only)\b", re.IGNORECASE)

# Statistics of normalisation layers travel with the weights but are not learned.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_LARGEST_HEADER = 1 << 20


def cardHtml(model: InstalledModel) -> str:
    """Return a model's card in Qt's subset of HTML, for a text browser about 440 pixels wide."""
    metadata = model.metadata
    title = _escaped(_at(metadata, "upgan", "task", "title") or metadata.get("task")) or _escaped(model.name)
    heading = f"<h3>{title}</h3><p>{_escaped(modelLabel(model))}</p>"
    if model.problem:
        where = _("It lies in {folder}").format(folder=model.folder)
        return f"{heading}{_loud(_escaped(model.problem))}<p>{_escaped(where)}</p>"
    rows = [
        (_("Translates"), _translation(metadata)),
        (_("Trained on"), _trainingData(metadata)),
        (_("Inputs seen"), _domain(metadata)),
        (_("Unlike inputs"), _familiarity(metadata)),
        (_("Slices"), _slices(metadata)),
        (_("Phases"), _phases(metadata)),
        (_("Size"), _size(model.folder)),
        (_("Licence"), _licence(model.folder)),
        (_("Authors"), _escaped(metadata.get("authors"))),
        (_("Version"), _version(metadata)),
    ]
    table = "".join(f"<tr><td><b>{name}</b>&nbsp;</td><td>{text}</td></tr>" for name, text in rows if text)
    return f'{heading}{_intendedUse(metadata)}<table cellpadding="2">{table}</table>{_measured(metadata)}'


def _intendedUse(metadata: dict[str, Any]) -> str:
    stated = _escaped(metadata.get("intended_use"))
    if not stated:
        return _loud(_escaped(_("Its authors state no intended use: not for patients.")))
    return _loud(stated) if _NOT_FOR_PATIENTS.search(stated) else f"<p>{stated}</p>"


def _loud(text: str) -> str:
    """Return a text in white on red, which is seen in a light and in a dark application."""
    return (
        '<table width="100%" cellpadding="4" bgcolor="#b71c1c"><tr><td>'
        f'<span style="color:#ffffff"><b>{text}</b></span></td></tr></table>'
    )


def _translation(metadata: dict[str, Any]) -> str:
    task = _at(metadata, "upgan", "task")
    source = _at(task, "input_modality")
    shown = _MODALITIES.get(source, source) if isinstance(source, str) else ""
    target, unit = _escaped(_at(task, "image_name")), _escaped(_at(task, "unit"))
    if not shown or not target:
        return ""
    return f"{_escaped(shown)} → {target} ({unit or _escaped(_('in the input’s own intensities, a.u.'))})"


def _trainingData(metadata: dict[str, Any]) -> str:
    training = _at(metadata, "upgan", "figures", "training")
    sentences = [_escaped(_at(training, "data"))]
    counts = [_at(training, "subjects", part) for part in ("train", "validation", "test")]
    if all(_number(count) is not None for count in counts):
        subjects = _("{train} subjects to train on, {validation} to watch, {test} held out.")
        sentences.append(_escaped(subjects.format(**dict(zip(("train", "validation", "test"), counts, strict=True)))))
    return " ".join(filter(None, sentences)) or _escaped(_("Not stated by its authors."))


def _domain(metadata: dict[str, Any]) -> str:
    """Return what the training inputs were like, from ranges (smallest, largest) over them."""
    domain = _at(metadata, "upgan", "domain")
    ranges = {name: _range(_at(domain, name), digits=3) for name in ("pixel_mm", "gap_mm", "field_mm", "diameter_mm")}
    texts = {
        "pixel_mm": _("pixels of {range} mm"),
        "gap_mm": _("slices {range} mm apart"),
        "field_mm": _("field of view {range} mm"),
        "diameter_mm": _("object {range} mm across"),
    }
    return _escaped(", ".join(texts[name].format(range=found) for name, found in ranges.items() if found))


def _familiarity(metadata: dict[str, Any]) -> str:
    """Return whether the model can tell an image that is unlike those it was trained on."""
    known = _at(metadata, "upgan", "familiarity")
    if not isinstance(known, dict):
        return _escaped(_("It cannot tell an image that is unlike these, but for its size and intensities."))
    subjects = _number(_at(known, "limits", "subjects"))
    if subjects is None:
        return _escaped(_("It cannot tell them: too few subjects were held out to set a limit on."))
    text = _(
        "Told by limits from {count:g} subjects that were not trained on; a small lesion or implant that no training "
        "image had may not be noticed."
    )
    return _escaped(text.format(count=subjects))


def _range(limits: object, digits: int) -> str:
    if not isinstance(limits, list) or len(limits) != 2:
        return ""
    low, high = (_number(limit) for limit in limits)
    if low is None or high is None:
        return ""
    shown = f"{low:.{digits}g}", f"{high:.{digits}g}"
    return shown[0] if shown[0] == shown[1] else _("{low} to {high}").format(low=shown[0], high=shown[1])


def _slices(metadata: dict[str, Any]) -> str:
    plane, spacing = _at(metadata, "upgan", "plane"), _at(metadata, "upgan", "spacing_mm")
    parts = [plane if isinstance(plane, str) else "axial"]  # the engine's default
    if isinstance(spacing, list) and len(spacing) == 2 and all(_number(step) is not None for step in spacing):
        rows, columns = spacing
        parts.append(_("resampled to {columns:.4g} × {rows:.4g} mm").format(columns=columns, rows=rows))
    return _escaped(", ".join(parts))


def _phases(metadata: dict[str, Any]) -> str:
    architecture = _at(metadata, "upgan", "architecture")
    chains = _at(architecture, "chains")
    count = len(chains) if isinstance(chains, list) else _number(_at(architecture, "phases"))
    return "" if count is None else f"{count:g}"


def _size(folder: Path) -> str:
    from upgan.bundles.layout import WEIGHTS

    try:
        parameters, size = _weights(folder / WEIGHTS)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return _escaped(_("Its weights cannot be read."))
    text = _("{parameters:.2f} million parameters, {size:.1f} MB")
    return _escaped(text.format(parameters=parameters / 1e6, size=size / 1e6))


def _weights(path: Path) -> tuple[int, int]:
    """Return the number of learned parameters and of bytes, from the header of a safetensors file alone.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file has no such header; or TypeError, AttributeError or RecursionError, by what it has instead.
    """
    from upgan.files import open_plain

    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if length > min(size, _LARGEST_HEADER):
            raise ValueError("no header of a safetensors file")
        header = json.loads(file.read(length))
    shapes = [
        tensor.get("shape")
        for name, tensor in header.items()
        if name != "__metadata__" and not name.endswith(_STATISTICS)
    ]
    parameters = sum(math.prod(shape) for shape in shapes)
    if not 0 <= parameters <= size:
        raise ValueError("more parameters than bytes")
    return parameters, size


def _licence(folder: Path) -> str:
    """Return the title of a licence: the first two lines with anything in them."""
    from upgan.bundles.layout import LICENCE
    from upgan.files import open_plain

    try:
        with open_plain(folder / LICENCE) as file:
            lines = [line.strip() for line in file.read(4096).decode("utf-8", "replace").splitlines()]
    except OSError:
        return _escaped(_("Its LICENSE cannot be read."))
    return _escaped(", ".join([line for line in lines if line][:2])[:160])


def _version(metadata: dict[str, Any]) -> str:
    checksum = _at(metadata, "upgan", "sha256", "models/model.safetensors")
    shown = _("SHA-256 {start}…").format(start=checksum[:12]) if isinstance(checksum, str) else ""
    version = metadata.get("version")
    return _escaped(", ".join(filter(None, [version if isinstance(version, str) else "", shown])))


def _measured(metadata: dict[str, Any]) -> str:
    """Return what was measured per phase, in which mask and over which range, as a table."""
    test = _at(metadata, "upgan", "figures", "test")
    figures = _at(test, "phases")
    phases = [(str(name), values) for name, values in figures.items()] if isinstance(figures, dict) else []
    if not phases:
        return f"<p>{_escaped(_('Nothing was measured with it, as far as its authors state.'))}</p>"
    if len(phases) > _MOST_PHASES:
        phases = [phases[0], *phases[1 - _MOST_PHASES :]]
    stated = _at(metadata, "upgan", "task", "unit")
    unit = stated if isinstance(stated, str) else ""
    lines = [
        (_("MAE ({unit})").format(unit=shownUnit(unit)), "mae", "{:.1f}" if unit == "HU" else "{:.3g}"),
        (_("PSNR (dB)"), "psnr", "{:.2f}"),
        (_("SSIM (3-D)"), "ssim_3d", "{:.3f}"),
        (_("SSIM (2-D)"), "ssim_2d", "{:.3f}"),
        # Of bundles measured by an earlier version, slice by slice on signed HU: lower than either of the others.
        (_("SSIM (2-D, signed HU)") if unit == "HU" else _("SSIM (2-D)"), "ssim", "{:.3f}"),
        (_("Coverage of 90 %"), "coverage_90%", "{:.1%}"),
        (_("… where it shows air"), "coverage_90%_predicted_air", "{:.1%}"),
        (_("… soft tissue"), "coverage_90%_predicted_soft", "{:.1%}"),
        (_("… bone"), "coverage_90%_predicted_bone", "{:.1%}"),
        (_("ρ(error, σ)"), "spearman_error_sigma", "{:.2f}"),
    ]
    header = "".join(f"<th>{_escaped(_('Phase {phase}').format(phase=phase))}</th>" for phase, _values in phases)
    rows = []
    for title, key, form in lines:
        cells = [_figure(_at(values, key), form) for _phase, values in phases]
        if any(cells):
            shown = "".join(f'<td align="right">{cell or "–"}</td>' for cell in cells)
            rows.append(f"<tr><td>{_escaped(title)}</td>{shown}</tr>")
    table = f'<table cellpadding="3"><tr><th></th>{header}</tr>{"".join(rows)}</table>'
    return f"<p><b>{_escaped(_('Measured'))}</b> {_circumstances(test, unit)}</p>{table}"


def _figure(spread: object, form: str) -> str:
    """Return mean ± standard deviation as text, or nothing where these are not two numbers."""
    if not isinstance(spread, list) or len(spread) != 2:
        return ""
    mean, deviation = (_number(value) for value in spread)
    if mean is None or deviation is None:
        return ""
    return _escaped(f"{form} ± {form}".format(mean, deviation))


def _circumstances(test: object, unit: str) -> str:
    """Return on whom, where and over which range was measured: figures without these mean nothing."""
    sentences = []
    subjects, mask = _number(_at(test, "subjects")), _at(test, "mask")
    # Two numbers, or words where each image has a range of its own.
    stated = _at(test, "data_range")
    numbers = _range(stated, digits=6)
    limits = stated if isinstance(stated, str) else f"{numbers} {shownUnit(unit)}" if numbers else _("not stated")
    if subjects is not None:
        sentences.append(_("on {count:g} held-out subjects, mean ± standard deviation").format(count=subjects))
    sentences.append(_("mask: {mask}").format(mask=mask if isinstance(mask, str) else _("not stated")))
    sentences.append(_("data range of PSNR and SSIM: {range}").format(range=limits))
    return _escaped("; ".join(sentences) + ".")


def _at(content: object, *keys: str) -> Any:
    """Return what lies under these keys, None where anything on the way is missing or of another kind."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _number(value: object) -> float | None:
    try:
        return float(value) if type(value) in (int, float) and math.isfinite(value) else None  # type: ignore[arg-type]
    except OverflowError:
        return None


def _escaped(value: object) -> str:
    """Return a stranger's text as text; what is no text is left out, what is too long is cut."""
    if not isinstance(value, str):
        return ""
    text = withoutHidden(value)
    return html.escape(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")
