"""One pair of images looked at: can it be read, does it belong together, are its values what they should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from upgan.errors import InputError
from upgan.images.hounsfield import HIGHEST_HU, LOWEST_HU, looks_like_hounsfield
from upgan.images.orientation import Reorientation
from upgan.images.scope import foreground_scope
from upgan.images.volume import Volume
from upgan.pairs.config import DataConfig
from upgan.pairs.finding import PairFiles, file_stem
from upgan.pairs.findings import UNSURE_PLACE, CheckedPair, Problem
from upgan.pairs.preparation import (
    degraded,
    image_sha256,
    in_target_values,
    on_grid_of,
    patient_mask,
    read_side,
    refuse_unsure_places,
    same_grid,
    sides_read,
)
from upgan.pairs.registration import Registration, register
from upgan.pairs.thumbnails import grey_window, middle_slices, thumbnail, write_thumbnail
from upgan.tasks import Task

# Outlines and histograms need no finer voxels than this.
_COARSE_MM = 3.0


# Share of the input's foreground that the target must cover: below the one the pair is refused, below the other named.
_COVERED_LEAST, _COVERED_NEARLY = 0.5, 0.9


# Dice of the input's foreground and the target's patient. Simulated heads: 0.95 as they are, 0.86 with 16 mm between
# them, 0.73 with 32 mm, 0.61 with 48 mm.
_DICE_LEAST, _DICE_GOOD = 0.5, 0.75


# Share of a CT outside the scanner's round field of view that is worth a word: a fifth where it is square.
_PADDING = 1e-3


# No scanner stores more, and no metal has more, however the scale is extended.
_IMPOSSIBLE_HU = 32767.0


# Share of the outermost voxels of a CT that are exactly 0 HU: above the one it is said, above the other the background
# is water to whoever learns from it. Where a patient is cut by the edge, values scatter.
_ZERO_SAID, _ZERO_MOST = 0.02, 0.2


# A CT has air or fat in it; an image in other units that has zeros around the patient has nothing below them.
_BELOW_WATER_HU = -50.0


# Nobody lies turned by more between two scans on one table.
_LARGEST_ROTATION_DEG = 25.0


class PairCheck:
    """One pair under examination.

    Args:
        files: The files of the pair's images.
        data: How the images are read.
        task: The task that the networks are to learn from the pair.
        thumbnails: An existing folder for pictures of the images, which are not made where None.
    """

    def __init__(self, files: PairFiles, data: DataConfig, task: Task, thumbnails: Path | None) -> None:
        self.files, self.data, self.task, self.folder = files, data, task, thumbnails
        self.problems: list[Problem] = []
        self.figures: dict[str, float] = {}
        self.thumbnails: dict[str, Path] = {}

    def look(self) -> CheckedPair:
        """Read both images and return what is wrong with them; nothing is raised for that."""
        sides = sides_read(self.data)
        images = {side: volume for side in sides if (volume := self._read(side)) is not None}
        pair = CheckedPair(self.files, checksums={side: image_sha256(volume) for side, volume in images.items()})
        first = images.get(sides[0])
        if first is not None:
            layout = Reorientation.of(first.ijk_to_ras, self.data.plane)
            slices, rows, columns = layout.apply(first.voxels).shape
            pair = replace(pair, slices=slices, shape=(rows, columns), spacing_mm=layout.in_plane_spacing)
        for side, volume in images.items():
            self._picture(side, volume)
        # What is missing or constant has been said; nothing more can be.
        if len(images) == len(sides) and not any(problem.severity == "error" for problem in self.problems):
            try:
                if len(sides) == 1:
                    self._look_at_target(images["target"])
                else:
                    self._look_at_both(images["input"], images["target"])
            except InputError as error:
                self._error(error.code, error.sentence, error.remedy)
        return replace(pair, problems=tuple(self.problems), figures=self.figures, thumbnails=self.thumbnails)

    def _error(self, code: str, sentence: str, remedy: str) -> None:
        self.problems.append(Problem(code, sentence, remedy, "error"))

    def _warn(self, code: str, sentence: str, remedy: str) -> None:
        self.problems.append(Problem(code, sentence, remedy, "warning"))

    def _read(self, side: str) -> Volume | None:
        """Read one image; None where nothing can be said of it but why it cannot be used."""
        try:
            volume = read_side(self.files, side)
            if volume.voxels.min() == volume.voxels.max():
                raise InputError(
                    "constant_image",
                    "Every voxel of the image has the same value.",
                    "Check that the right file was chosen and that it is complete.",
                )
        except InputError as error:
            self._error(error.code, f"{side.capitalize()}: {error.sentence}", error.remedy)
            return None
        if not volume.placement.is_certain:
            self._warn(
                UNSURE_PLACE[volume.placement.certainty],
                f"{side.capitalize()}: {volume.placement.sentence}",
                "Look in Slicer whether it lies right, correct it there if not, and save it as NRRD.",
            )
        expected = self.task.input_modality if side == "input" else self.task.output_modality
        if volume.modality not in (None, expected):
            self._warn(
                "other_modality",
                f"The {side} is marked as {volume.modality}, but {expected} is expected.",
                "Check that the right series was chosen.",
            )
        return volume

    def _picture(self, side: str, volume: Volume) -> None:
        if self.folder is None:
            return
        hounsfield = side == "target" and self.task.unit == "HU"
        display = self.task.display
        is_made = self.data.degradation != "none"
        window = (display.level - display.window / 2, display.level + display.window / 2) if hounsfield else None
        if is_made:
            # The input's, too: else it seems to be as bright, whatever it has lost.
            window = grey_window(volume, self.data.plane)
        self.thumbnails[side] = self.folder / f"{file_stem(self.files.subject)}_{side}.png"
        write_thumbnail(thumbnail(volume, self.data.plane, window), self.thumbnails[side])
        if is_made:
            # Two slices cost no time, and the seed need not be that of the training.
            part = middle_slices(volume, self.data.plane)
            self.thumbnails["input"] = self.folder / f"{file_stem(self.files.subject)}_input.png"
            shown = thumbnail(degraded(part, self.files.subject, self.data), self.data.plane, window)
            write_thumbnail(shown, self.thumbnails["input"])

    def _look_at_target(self, target: Volume) -> None:
        self.figures["reference"] = self.task.measure(target.voxels).reference
        self._look_for_negative(target)
        coarse = _coarse(target)
        self.figures["body_ml"] = _millilitres(patient_mask(coarse, self.task), coarse)

    def _look_at_both(self, source: Volume, target: Volume) -> None:
        imaged = None
        if self.task.unit == "HU":
            if not self._is_in_hounsfield_units(source, target):
                return
            self._look_for_values_of_no_tissue(target)
            padding = target.voxels < LOWEST_HU
            if padding.any():
                imaged = Volume(np.where(padding, np.float32(np.nan), target.voxels), target.ijk_to_ras)
            target = in_target_values(target, self.task)
        intensities = self.task.measure(source.voxels)
        self.figures["reference"] = intensities.reference
        self._look_for_negative(source)
        if np.array_equal(source.voxels, target.voxels):
            self._error("same_image", "Input and target are the same image.", "Choose the other image of the patient.")
            return
        refuse_unsure_places(source, target, self.data)
        registration = None
        if self.data.register_pairs:
            registration = register(source, target)
            target = registration.apply(target)
            imaged = registration.apply(imaged) if imaged else None
        elif not same_grid(source, target):
            self._warn(
                "other_grid",
                "The target lies on another grid than the input.",
                "It will be resampled; nothing needs to be done."
                if source.placement.is_certain and target.placement.is_certain
                else "It will be resampled from where it was taken to lie: look at the pictures of both.",
            )
        coarse = _coarse(source)
        reference, covered = on_grid_of(coarse, target, self.task)
        if imaged is not None:  # What the scanner did not see is no part of what the target covers.
            covered = on_grid_of(coarse, imaged, self.task)[1]
        foreground = _foreground(intensities.normalise(coarse.voxels))
        share = float(covered[foreground].mean()) if foreground.any() else 0.0
        if share < _COVERED_NEARLY:
            severe = share < _COVERED_LEAST
            (self._error if severe else self._warn)(
                "not_overlapping" if severe else "partly_covered",
                f"The target covers only {share:.0%} of what the input shows.",
                "Check that both are of the same patient and lie in the same frame, or register the pairs.",
            )
            if severe:
                return
        body = patient_mask(reference, self.task)
        self._compare(foreground & covered, body, registration)
        self.figures["body_ml"] = _millilitres(body, coarse)
        if self.task.unit == "HU":
            self.figures["target_median"] = float(np.median(reference.voxels[body]))
        self.figures["similarity"] = _similarity(intensities.normalise(coarse.voxels), reference.voxels, covered)

    def _look_for_values_of_no_tissue(self, target: Volume) -> None:
        """Say how much of a CT is padding, metal or nothing that a CT can hold; none of it is trained on as it is."""
        voxels = target.voxels
        padding = np.count_nonzero(voxels < LOWEST_HU) / voxels.size
        if padding > _PADDING:
            self._warn(
                "ct_padding",
                f"{padding:.1%} of the target's voxels are below {LOWEST_HU:g} HU (down to {voxels.min():.6g}), as "
                "outside a scanner's field of view.",
                "They are taken as air; nothing needs to be done.",
            )
        beyond = voxels[voxels > HIGHEST_HU]
        impossible = np.count_nonzero(beyond > _IMPOSSIBLE_HU)
        if impossible:
            self._warn(
                "impossible_values",
                f"{impossible} voxels of the target are above {_IMPOSSIBLE_HU:g} HU (up to {beyond.max():.4g}), which "
                "no CT holds.",
                f"They are taken as {HIGHEST_HU:g} HU; look at the image, it may be damaged.",
            )
        elif beyond.size:
            self._warn(
                "metal",
                f"{beyond.size} voxels of the target are above {HIGHEST_HU:g} HU (up to {beyond.max():.6g}), as in "
                "metal.",
                f"They are taken as {HIGHEST_HU:g} HU; leave the subject out if artefacts reach far.",
            )
        zero = _zero_at_the_edge(voxels)
        if zero > _ZERO_SAID:
            self._warn(
                "background_partly_zero",
                f"{zero:.0%} of the voxels at the target's edge are exactly 0 HU, which is water and not air.",
                "Set what was not scanned to -1000 HU.",
            )

    def _is_in_hounsfield_units(self, source: Volume, target: Volume) -> bool:
        source_is_ct, target_is_ct = _looks_like_ct(source), _looks_like_ct(target)
        if source_is_ct and not target_is_ct:
            self._error(
                "swapped_modalities",
                "The input looks like a CT in HU, the target does not: they seem to be swapped.",
                "Swap input and target.",
            )
        elif source_is_ct:
            self._error(
                "input_is_ct",
                f"The input looks like a CT in HU, but {self.task.input_modality} is expected.",
                "Choose the other image of the patient.",
            )
        elif target.voxels.min() < _BELOW_WATER_HU and _zero_at_the_edge(target.voxels) > _ZERO_MOST:
            self._error(
                "background_not_air",
                "The target's background is 0 HU, which is water, where a CT has air (-1000 HU).",
                "Set the background to -1000 HU, or export the CT again without masking it.",
            )
            return False
        elif not target_is_ct:
            low, high = np.percentile(_coarse(target).voxels, (1, 99))
            self._error(
                "not_hu",
                f"The target does not look like a CT in HU: most of its values lie between {low:.4g} and {high:.4g}.",
                "Export the CT in HU, with its rescale slope and intercept applied.",
            )
        return target_is_ct and not source_is_ct

    def _look_for_negative(self, source: Volume) -> None:
        for sentence in self.task.misfits(Volume(source.voxels, source.ijk_to_ras)):
            self._warn("negative_values", sentence, "Check the image's unit and rescaling.")

    def _compare(self, foreground: np.ndarray, body: np.ndarray, registration: Registration | None) -> None:
        dice = 2 * float((foreground & body).sum()) / max(float(foreground.sum() + body.sum()), 1.0)
        self.figures["overlap"] = dice
        turned = 0.0
        if registration is not None:
            turned = registration.rotation_deg
            self.figures["shift_mm"] = registration.shift_mm
            self.figures["rotation_deg"] = turned
            self.figures["information_gain"] = registration.after - registration.before
        if dice < _DICE_LEAST:
            self._error(
                "other_place",
                f"The patient lies elsewhere in the target than in the input (overlap {dice:.0%}).",
                "Check that both are of the same patient"
                + (" and the same part." if registration else ", or register the pairs (data.register_pairs)."),
            )
        elif registration and (dice < _DICE_GOOD or turned > _LARGEST_ROTATION_DEG):
            self._warn(
                "poor_registration",
                f"The registration may have failed: overlap {dice:.0%}, turned by {turned:.0f}°.",
                "Look at both images; register them by hand or leave the subject out.",
            )
        elif dice < _DICE_GOOD:
            self._warn(
                "poor_overlap",
                f"The outlines of the patient in input and target overlap by {dice:.0%} only.",
                "Register the pairs (data.register_pairs), or check that both are of the same patient.",
            )


def _coarse(volume: Volume) -> Volume:
    """Leave voxels out, in axial layout, until they lie about 3 mm apart."""
    standing = volume.reoriented("axial")
    steps = [
        min(max(1, round(_COARSE_MM / step)), count // 2)
        for step, count in zip(standing.spacing, standing.voxels.shape[::-1], strict=True)
    ]
    voxels = standing.voxels[:: steps[2], :: steps[1], :: steps[0]]
    return Volume(np.ascontiguousarray(voxels), standing.ijk_to_ras @ np.diag([*steps, 1.0]), volume.modality)


def _foreground(normalised: np.ndarray) -> np.ndarray:
    """Return where the patient is in an input in network units, boolean [K, J, I].

    It is found in the square root, which keeps PET's hot spots from hiding the rest.

    Raises:
        InputError: ``no_foreground``.
    """
    try:
        return foreground_scope(normalised, np.ones(normalised.shape, dtype=bool)).mask
    except InputError as error:
        raise InputError(error.code, "The input shows no patient.", "Check that the right image was chosen.") from error


def _looks_like_ct(volume: Volume) -> bool:
    return looks_like_hounsfield(_coarse(volume).voxels)


def _zero_at_the_edge(voxels: np.ndarray) -> float:
    """Return the share of the outermost voxels [K, J, I] that are exactly zero, which is how software fills gaps."""
    faces = [voxels.take(end, axis) for axis in range(3) for end in (0, -1)]
    return sum(np.count_nonzero(face == 0) for face in faces) / sum(face.size for face in faces)


def _similarity(source: np.ndarray, target: np.ndarray, covered: np.ndarray) -> float:
    from skimage.metrics import normalized_mutual_information

    return float(normalized_mutual_information(source[covered], target[covered], bins=64))


def _millilitres(mask: np.ndarray, volume: Volume) -> float:
    return float(mask.sum() * abs(np.linalg.det(volume.ijk_to_ras[:3, :3])) / 1000)
