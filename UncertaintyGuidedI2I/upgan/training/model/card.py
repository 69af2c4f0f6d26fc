"""The text of a model card, written from what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from upgan.bundles.domain import Domain
from upgan.evaluation.metrics import SSIM_3D
from upgan.images.hounsfield import TISSUES, TISSUES_IN_WORDS
from upgan.networks.architecture import CascadeArchitecture, PublishedArchitecture
from upgan.simulation.degradation import Degradation, Name, degradation_of
from upgan.simulation.motion import MOTIONS
from upgan.tasks import Task
from upgan.training.loop.losses import EPSILON, MEANINGFUL_SIGMA
from upgan.training.model.markdown import (
    bullets,
    enumerated,
    figures_table,
    rounded_up,
    settings,
    table,
    unit_in_words,
    wrap,
)
from upgan.training.model.trained_run import TrainedRun
from upgan.training.settings.config import LossConfig
from upgan.uncertainty.calibration import Calibration, TissueCalibration
from upgan.uncertainty.familiarity import FEWEST_SUBJECTS, Familiarity
from upgan.uncertainty.tissues import BAND_HU

_LOSSES = {
    "generalized_gaussian": "Eq. 1",
    "beta_nll": "Eq. 1 weighed by the predicted σ (β-NLL with ½)",
    "detached_mean": "Eq. 1 of an image it does not train",
    "published_product": (
        "the published code's product in place of Eq. 1 (β comes out near 0.68 and σ too large, whatever the data)"
    ),
}
_DEGRADED: dict[str, str] = {
    "central_lines": "the central 8 % of the phase-encoding lines were kept",
    "central_block": "the central 28 % of both sides of k-space were kept",
    "published_lines": "the authors' choice of phase-encoding lines was kept (11 %, half of them central)",
    "regular_4x": "every fourth phase-encoding line was kept on average, 8 % in the middle without a gap",
    "regular_8x": "every eighth phase-encoding line was kept on average, 4 % in the middle without a gap",
    "random_4x": "a random fourth of the phase-encoding lines was kept, 8 % in the middle without a gap",
    "random_8x": "a random eighth of the phase-encoding lines was kept, 4 % in the middle without a gap",
    "sudden_motion": "the patient moved suddenly up to four times",
    "drifting_motion": "the patient drifted one way all the time",
    "periodic_motion": "the patient moved to and fro, 4 to 32 times a slice",
    "motion": "the patient moved at random",
}
_AXES = {
    "rows": "",
    "columns": ", along the columns of the slices",
    "either": ", along the rows or the columns of the slices",
}

# The standard deviation of fewer is itself uncertain by more than a quarter.
_FEW_PATIENTS = 10


def model_card(
    run: TrainedRun,
    name: str,
    version: str,
    figures: dict[str, Any],
    calibration: Calibration,
    domain: Domain,
    familiarity: Familiarity | None,
    remark: str = "",
) -> str:
    """Render docs/README.md of a bundle.

    Args:
        run: What the model was made of; no name of a subject and no path of it gets onto the card.
        name: The model's name.
        version: The model's version.
        figures: What metadata.json has of them: ``test``, ``training`` and, with a base model, ``compared_with``.
        calibration: What the uncertainty was corrected by.
        domain: What the training inputs were like.
        familiarity: By which features another input is told from them; None where these show too little of an object.
        remark: What the model's maker says beside what was measured.
    """
    sections = {
        "Data": _data(run, figures["training"], domain),
        "Model": _model(run, figures["training"]),
        "Measured": _measured(run, figures),
        **({"Remark": wrap(" ".join(remark.split()))} if remark.strip() else {}),
        "Uncertainty": _uncertainty(figures["test"], calibration),
        "Familiarity": _familiarity(familiarity),
    }
    if "compared_with" in figures:
        sections["Compared with the model it started from"] = _compared(run, figures["compared_with"])
    sections["Limits"] = _limits(run, figures)
    sections["Settings"] = settings(run.config)
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"""# {name} {version}

{run.task.title} with the uncertainty of every voxel: α (scale), β (shape) and σ.

**For demonstration and software tests. Not for patients.**

{body}
"""


def _data(run: TrainedRun, training: dict[str, Any], domain: Domain) -> str:
    subjects, patients = training["subjects"], training["patients"]
    left_out = len(run.content.get("left_out", []))
    made = degradation_in_words(run.data.degradation)
    counts = (
        f"{training['data']}{made} {_counted(subjects['train'], 'subject')} to train "
        f"on, {subjects['validation']} to watch, {subjects['test']} held out for the figures below; split by patient, "
        "never by slice."
    )
    if subjects != patients:
        counts += (
            f" Some are several sessions of one patient: these are {patients['train']}, {patients['validation']} and "
            f"{patients['test']} patients."
        )
    if left_out:
        counts += f" Left out: {_counted(left_out, 'further subject')}."
    seen = (
        f"The training inputs are {run.task.input_modality} images in {domain.describe()}. The software warns of an "
        "image that lies clearly outside."
    )
    fingerprint = f"Fingerprint of the slices trained on and watched: `{training['fingerprint']}`."
    return "\n\n".join([wrap(counts), wrap(seen), wrap(fingerprint)])


def degradation_in_words(choice: Name | Degradation) -> str:
    """Say how the inputs were made; nothing where they were read."""
    degradation = degradation_of(choice)
    if degradation is None:
        return ""
    if choice == "motion":
        return " The inputs were made from the targets by simulated motion."
    ways = [_DEGRADED[kind] for kind in dict.fromkeys(degradation.kinds)]
    drawn = " (one of these, drawn for every slice)" if len(ways) > 1 else ""
    noise = f", with complex noise at an SNR of {degradation.snr:g}" if degradation.snr is not None else ""
    moves = any(kind in MOTIONS for kind in degradation.kinds)
    far = f", {degradation.severity[0]:g} to {degradation.severity[1]:g} mm or degrees far" if moves else ""
    said = f"{'; or '.join(ways)}{drawn}{far}{_AXES[degradation.axis]}{noise}"
    return f" The inputs were made from the targets: {said}."


_HANDED_ON = {
    "image": "σ guidance off, which is the paper's ablation: a later phase sees the image of the one before",
    "image+sigma": "σ guidance beside the image: a later phase sees the image of the one before, σ over its mean",
    "product": "σ guidance on (Eq. 3 and 4): a later phase sees the image of the one before times σ over its mean",
}


def _wiring(architecture: CascadeArchitecture) -> str:
    """Say how the phases hang together, and where the first begins; nothing where that is from an empty image."""
    first = "; the first phase corrects the input" if architecture.from_input else ""
    if architecture.phases == 1:
        return first.replace("first phase", "network")
    seen = f"{_HANDED_ON[architecture.hand_over]}{', its last features' if architecture.features else ''} and the input"
    manner = "corrects that image" if architecture.residual else "predicts the image anew, as in the paper"
    coarse = "; the first phase looks at half the resolution" if architecture.coarse_first else ""
    return f", {seen}, and {manner}{first}{coarse}"


def _model(run: TrainedRun, training: dict[str, Any]) -> str:
    architecture, loss, schedule = run.cascade.architecture, run.config.loss, run.config.schedule
    parameters = sum(parameter.numel() for parameter in run.cascade.parameters()) / 1e6
    network = f"UP-GAN with {_phases(architecture.phases)} and {parameters:.2f} million parameters"
    if isinstance(architecture, PublishedArchitecture):
        network += (
            f", the networks and wiring of the authors' code ({enumerated(architecture.chains)} U-Nets in the phases, "
            f"width {architecture.width}; a later phase sees b̂, 1/α, β and the input, there is no σ guidance)."
        )
    else:
        network += (
            f" (width {architecture.width}, deepest levels {architecture.deepest}×{architecture.width}; the paper has "
            f"64 and 8×64){_wiring(architecture)}."
        )
    if architecture.margin_mm is not None:
        network += f" It sees the object in the image and {architecture.margin_mm:g} mm of air around it, nothing else."
    if run.base is not None:
        network += f" It went on from {run.base.metadata.name} {run.base.metadata.version}."
    origin = (
        f"Trained for {training['hours']:g} hours ({training['steps']} steps of {schedule.batch} slices) on "
        f"{training['machine']}. {_stages(run)} {_checkpoint(training['checkpoint'])} Adam, cosine annealing from "
        f"{schedule.learning_rate:g} (initialisation) and {schedule.joint_learning_rate:g} (end to end), seed "
        f"{run.config.seed}. Loss: {_loss(loss)}."
    )
    return f"{wrap(network)}\n\n{wrap(origin)}"


def _loss(loss: LossConfig) -> str:
    """Say what was minimised; terms of no weight are not said."""
    terms = [f"{loss.likelihood:g}·L (weight {loss.outside_body:g} outside the body)"] if loss.likelihood else []
    if loss.l1:
        terms.append(f"{loss.l1:g}·L1{' (mean over the slice)' if loss.normalisation == 'slice' else ''}")
    if loss.adversarial:
        terms.append(f"{loss.adversarial:g}·adversarial")
    meaning = f", where L is {_LOSSES[loss.form]}" if loss.likelihood else ""
    return f"{' + '.join(terms) or 'none'}{meaning}"


def _stages(run: TrainedRun) -> str:
    """Epochs done and planned of each stage begun, as the journal has them."""
    parts = []
    for line in run.journal:
        if line["kind"] == "stage":
            done = [
                other["epoch"]
                for other in run.journal
                if other["kind"] == "validation" and other["stage"] == line["stage"]
            ]
            together = " together" if len(line["phases"]) > 1 else ""
            which = f"phase{'s' if together else ''} {enumerated(line['phases'])}{together}"
            parts.append(
                f"stage {line['stage']} of {line['stages']} ({which}) {max(done, default=0)} of {line['epochs']}"
            )
    return f"Epochs: {'; '.join(parts)}." if parts else ""


def _checkpoint(chosen: dict[str, Any]) -> str:
    if "epoch" not in chosen:
        return f"The weights are those of the checkpoint '{chosen['name']}'."
    if chosen["stage"] == 0:
        return "The weights are those of the model it started from: no epoch was better on the validation patients."
    return (
        f"The weights are those of epoch {chosen['epoch']} of stage {chosen['stage']}, whose mean absolute error on "
        "the validation patients was the lowest."
    )


def _measured(run: TrainedRun, figures: dict[str, Any]) -> str:
    test, unit = figures["test"], unit_in_words(figures["test"]["unit"])
    if isinstance(test["data_range"], str):
        over = f"over a range of its own for each subject ({test['data_range']}); MAE, RMSE and σ in {unit}"
    else:
        low, high = test["data_range"]
        over = f"over [{low:g}, {high:g}] {unit}"
    spread = ", mean ± standard deviation over patients" if test["subjects"] > 1 else ""
    text = (
        f"{_patients(test['subjects'])} held out, one scan each{spread}; every voxel inside the mask ({test['mask']}); "
        f"PSNR and SSIM {over}: {test['definition']}. Half-precision weights, through the engine, calibrated as below. "
        f"Measured {figures['training']['measured']}."
    )
    return f"{wrap(text)}\n\n{figures_table(test)}"


def _uncertainty(test: dict[str, Any], calibration: Calibration) -> str:
    factors = enumerated([f"{factor:.3f}" for factor in calibration.scale])
    phases = enumerated(range(1, len(calibration.scale) + 1))
    scale = (
        f"The engine multiplies α, and with it σ, of phase{'s' * (len(calibration.scale) > 1)} {phases} by {factors}: "
        f"the most likely factors on {_patients(calibration.patients)} of the {calibration.measured_on} "
        f"({calibration.voxels} voxels of each). Images and β stay as they are."
    )
    if calibration.tissues is not None:
        of_tissues = enumerated([f"{each.scale:.3f}" for each in calibration.tissues])
        scale += (
            f" In the last phase it multiplies by {of_tissues} instead where the image shows air, soft tissue and bone "
            f"(up to {TISSUES['air'][1]:g} HU, up to {TISSUES['soft'][1]:g} HU, above; from one to the other within "
            f"{BAND_HU:g} HU of these limits), with which 90 % intervals hold 90 % of each on the same patients."
        )
    scale += " On the test patients, the central intervals of the last phase hold:"
    last = test["phases"][str(len(calibration.scale))]
    keys = [key for key in last if key.startswith("coverage_")]
    held = table(
        ["interval", "without calibration", "calibrated"],
        [[_interval(key), *(f"{last[which][0]:.1%}" for which in (f"network_{key}", key))] for key in keys],
    )
    parts = [wrap(scale), held]
    if calibration.tissues is not None:
        parts.append(wrap(_MISTAKEN))
    parts.append(wrap(calibration.note))
    stated = {share: level for share, level in calibration.conformal.items() if level is not None}
    if stated:
        factor = f"{calibration.scale[-1]:.3f}" if calibration.tissues is None else "s"
        formula = (
            f"The interval at the level u is b̂ ± (α/{factor})·P⁻¹(1/β, u)^(1/β), with α as the engine gives it and P "
            "the regularised lower incomplete gamma function"
        )
        formula += "." if calibration.tissues is None else ", and s the factor that this α was multiplied by."
        columns = {"level u, rounded up": calibration.conformal}
        columns |= {
            f"shown as {TISSUES_IN_WORDS[each.tissue]}": each.conformal
            for each in calibration.tissues or ()
            if any(level is not None for level in each.conformal.values())
        }
        rows = [[f"{share:.0%}", *(_level(levels.get(share)) for levels in columns.values())] for share in stated]
        parts.append(table(["share of the body's voxels", *columns], rows))
        if calibration.tissues is not None:
            parts += _claims(calibration.tissues, calibration.patients)
        parts.append(wrap(formula))
    return "\n\n".join(parts)


def _claims(tissues: Sequence[TissueCalibration], patients: int) -> Iterator[str]:
    """Say what each tissue's levels claim; once for those that rest on as many patients as the body's."""
    alike = [TISSUES_IN_WORDS[each.tissue] for each in tissues if each.patients == patients]
    if alike:
        said = (
            f"The same is said of the voxels that the image shows as {enumerated(alike)}, each with levels of its own."
        )
        yield wrap(said)
    others = [f"Of {TISSUES_IN_WORDS[each.tissue]}: {each.note}" for each in tissues if each.patients != patients]
    if others:
        yield bullets(others)


def _familiarity(familiarity: Familiarity | None) -> str:
    if familiarity is None:
        return wrap(
            "The training images show too little of an object for another image to be compared with them: the software "
            "cannot tell whether one is unlike."
        )
    known = (
        f"The software compares an image with the {_counted(familiarity.volumes, 'image')} trained on "
        f"({_counted(familiarity.slices, 'slice')}) by {_counted(len(familiarity.mean), 'feature')} of the first "
        "network, and, where asked to (twice the time), with its own mirror image."
    )
    limits = familiarity.limits
    if limits is None:
        told = (
            f"Fewer than {FEWEST_SUBJECTS} patients were held out to set limits on: it gives the scores and cannot "
            "tell whether an image is unlike the training data."
        )
    else:
        flip = f", or when it and its mirror image come out more than {limits.flip:.2f} σ apart" if limits.flip else ""
        told = (
            "It calls an image unlike the training data when its slices' features lie more than "
            f"{limits.features:.2f} times as far from the training's as training slices do{flip}: what one of 100 "
            f"further patients like the {_patients(limits.subjects)} of the {limits.measured_on} would exceed in each. "
            "The intervals above are not claimed for an image that is unlike the training data."
        )
    missed = (
        "What this may not see: a small lesion or implant that no training patient had, for whole slices are compared. "
        "That an image is not called unlike is no proof that it is like."
    )
    return "\n\n".join(map(wrap, (known, told, missed)))


_MISTAKEN = (
    'A tissue that is "shown" is that of the translated image, one that is "truly" there that of the reference. '
    "Calibration makes intervals true of what is shown. Of what is truly air or bone they hold less, for where the "
    "image shows another tissue in its place it is wrong by the whole step between the two, and neither α nor β knows "
    "which voxels these are."
)


def _interval(key: str) -> str:
    """Name an interval by its figure: 90%; 90% shown as bone; 90% truly bone."""
    level, _, where = key.removeprefix("coverage_").partition("_")
    if not where:
        return level
    shown = where.startswith("predicted_")
    return f"{level} {'shown as' if shown else 'truly'} {TISSUES_IN_WORDS[where.removeprefix('predicted_')]}"


def _level(level: float | None) -> str:
    return "" if level is None else rounded_up(level)


def _compared(run: TrainedRun, compared: dict[str, Any]) -> str:
    unit = unit_in_words(run.task.unit)
    titles = {"mae": f"MAE ({unit})", "psnr": "PSNR (dB)", "ssim_3d": SSIM_3D}
    rows = []
    for test in compared["tests"]:
        digits = 4 if test["key"] == "ssim_3d" else 2
        p = "" if test["p"] is None else f"{test['p']:.2g}"
        spread = f"{test['difference']:+.{digits}f} ({test['smallest']:+.{digits}f} to {test['largest']:+.{digits}f})"
        medians = [f"{test[which]:.{digits}f}" for which in ("theirs", "ours")]
        rows.append([titles[test["key"]], *medians, spread, p])
    header = ["median", compared["name"], "this model", "difference, patient by patient (range)", "p"]
    tested = "Last phases of both on the same test patients; Wilcoxon's signed-rank test, two-sided."
    return f"**{wrap(compared['conclusion'])}**\n\n{table(header, rows)}\n\n{wrap(tested)}"


def _limits(run: TrainedRun, figures: dict[str, Any]) -> str:
    limits = [
        "It knows what the scanners, protocols and patients of its training data showed, and nothing else. Elsewhere "
        "it may be worse than the figures above, and σ need not tell.",
        "A 90 % interval speaks of many voxels together: in one organ or lesion it may hold more or fewer.",
    ]
    if run.config.loss.form != "published_product":  # all others are Eq. 1
        limits.append(_about_beta(run.task))
    if figures["test"]["subjects"] < _FEW_PATIENTS:
        limits.append(
            f"{_patients(figures['test']['subjects'])} to test on: the figures are no more than an impression."
        )
    planned = len(run.config.schedule.epochs)
    if run.cascade.architecture.phases < planned:
        limits.append(f"The training was planned with {_phases(planned)}; the later ones had not begun yet.")
    if run.base is not None:
        limits.append(
            f"If {run.base.metadata.name} had been trained on any of the test patients, all figures here are too good: "
            "the software cannot know."
        )
    return bullets(limits)


def _about_beta(task: Task) -> str:
    limit = MEANINGFUL_SIGMA * EPSILON * task.output.factor
    where = f"{limit:.3g} {task.unit}" if task.unit else f"{limit:.1%} of the input's own reference intensity"
    return (
        f"β tells the shape of the error where σ is above {where}. Below that the loss, which rounds the peak of the "
        "likelihood off, makes β read too high (1.24 in place of 1 at a third of it); σ and the intervals stay right "
        "within 5 %."
    )


def _patients(count: int) -> str:
    return _counted(count, "patient")


def _phases(count: int) -> str:
    return _counted(count, "phase")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
