"""The two ways in which a NIfTI header says where its voxels lie (nifti1.h, "3D image orientation and location")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from upgan.images.placement import (
    MAY_BE_WRONG,
    TAKEN_AS_SLICER_DOES,
    WITHOUT_PLACE,
    Certainty,
    Placement,
    apart_mm,
    are_one_place,
)

# By how much b² + c² + d² may exceed 1 and still be a rounded rotation.
_QUATERNION_TOLERANCE = 1e-5

# Of the cosines between an sform's axes: ITK takes none that is further from a rotation.
_ITK_ORTHONORMAL = 1e-4

_SCANNER_ANAT = 1


@dataclass(frozen=True, eq=False)
class NiftiForms:
    """A header's qform and sform as they are stored, but in millimetres.

    Attributes:
        codes: The codes of qform and sform; 0 for a form that does not count.
        pixdim: Handedness of the qform, and the voxel's size along I, J and K.
        quaternion: b, c, d of the qform's rotation.
        offset: The point at which the qform puts the first voxel, mm.
        rows: The sform, [3, 4].
    """

    codes: tuple[int, int]
    pixdim: np.ndarray
    quaternion: np.ndarray
    offset: np.ndarray
    rows: np.ndarray

    def write_to(self, header: Any) -> None:
        """Set the fields of a header of nibabel's that is in millimetres."""
        header["qform_code"], header["sform_code"] = self.codes
        header["pixdim"][:4] = self.pixdim
        for name, value in zip("bcd", self.quaternion, strict=True):
            header[f"quatern_{name}"] = value
        for axis, name in enumerate("xyz"):
            header[f"qoffset_{name}"] = self.offset[axis]
            header[f"srow_{name}"] = self.rows[axis]


def decide(forms: NiftiForms, shape: tuple[int, int, int], name: str) -> tuple[np.ndarray, Placement]:
    """Decide where an image lies: the affine, and how sure it is.

    Where the forms agree the sform is taken, which is the finer of the two. Where they do not, or say nothing, it is
    what ITK takes, and with it Slicer: a result then lies on its input there.

    Args:
        forms: The forms that the header has.
        shape: Number of voxels (K, J, I).
        name: The file's name, for messages.

    Raises:
        ValueError: The place is said by a quaternion alone, and that is none; the text says so.
    """
    q, s = forms.codes
    said = np.isfinite(forms.pixdim[1:]) & (forms.pixdim[1:] != 0)
    sizes = np.where(said, forms.pixdim[1:], 1.0)
    rotation = _rotation(forms.quaternion) if q else None
    if q and not s and rotation is None:
        raise ValueError("its quaternion (quatern_b, quatern_c, quatern_d) is longer than 1, which is no rotation")
    qform = None
    if rotation is not None:
        qform = _affine(rotation * [1, 1, -1 if forms.pixdim[0] < 0 else 1], np.abs(sizes), forms.offset)
    sform = np.vstack([forms.rows, [0, 0, 0, 1]]) if s else None
    taken, certainty, sentence = _Forms(name, shape, (q, s), qform, sform, sizes, bool(said.all())).decide()
    return taken, Placement(certainty, sentence, forms, taken)


@dataclass(frozen=True, eq=False)
class _Forms:
    """What a header says, in the affines that it amounts to.

    Attributes:
        name: The file's name, for messages.
        shape: Number of voxels (K, J, I).
        codes: The codes of qform and sform.
        qform: The 4x4 affine of the qform, mm; None where it does not count or is no rotation.
        sform: The 4x4 affine of the sform, mm; None where it does not count.
        sizes: The voxel's sizes along I, J and K in mm, with the sign that they have; 1 where nothing is said.
        sized: Whether all sizes are said.
    """

    name: str
    shape: tuple[int, int, int]
    codes: tuple[int, int]
    qform: np.ndarray | None
    sform: np.ndarray | None
    sizes: np.ndarray
    sized: bool

    def decide(self) -> tuple[np.ndarray, Certainty, str]:
        """Return the affine, how sure it is, and what is to be said."""
        best = self.qform if self.sform is None else self.sform
        if best is None:
            taken = WITHOUT_PLACE @ _affine(np.eye(3), self.sizes, np.zeros(3))
            sentence = f"'{self.name}' does not say where its voxels lie (its qform and sform codes are 0)"
            sentence += "" if self.sized else " nor how large they are (its pixdim is not set; 1 mm was taken)"
            return taken, "guessed", f"{sentence}. {TAKEN_AS_SLICER_DOES}; {MAY_BE_WRONG}."
        if self.sform is None and not self.sized:
            sentence = f"'{self.name}' does not say how large its voxels are (its pixdim is not set)"
            return best, "guessed", f"{sentence}. 1 mm was taken, as Slicer does; distances may be wrong."
        itk = self._as_itk_takes_it()
        others = [self.qform] if self.codes[0] else []
        others += [itk] if itk is not None or not self.sized else []
        if all(other is not None and are_one_place(best, other, self.shape) for other in others):
            return best, "certain", ""
        if self._qform_is_sform_without_its_slant():
            return best, "certain", self._slant(best)
        if itk is None or (not self.codes[0] and not self._lacks_sizes(best)):
            # By the standard an sform alone needs no pixdim, which some writers leave at 1.
            return best, "ambiguous", self._contradiction(best, best, as_itk=False)
        return itk, "ambiguous", self._contradiction(best, itk, as_itk=True)

    def _qform_is_sform_without_its_slant(self) -> bool:
        """Tell whether the qform is the sform of a tilted gantry as far as a quaternion can hold it."""
        if self.qform is None or self.sform is None or self.codes[0] != self.codes[1]:
            return False
        if not np.isfinite(self.sform).all() or not np.linalg.det(self.sform):
            return False
        left, _, right = np.linalg.svd(_directions(self.sform))
        nearest = _affine(left @ right, np.linalg.norm(self.sform[:3, :3], axis=0), self.sform[:3, 3])
        return are_one_place(nearest, self.qform, self.shape)

    def _slant(self, sform: np.ndarray) -> str:
        assert self.qform is not None
        apart = apart_mm(sform, self.qform, self.shape)
        return (
            f"The axes of '{self.name}' are slanted, as by a tilted gantry, which its qform cannot hold. Slicer shows "
            f"it without the slant, up to {apart:.3g} mm off; a result saved as NRRD lies where the scanner says."
        )

    @staticmethod
    def _lacks_sizes(sform: np.ndarray) -> bool:
        """Tell whether a writer put directions where directions times sizes belong."""
        return bool(np.allclose(np.linalg.norm(sform[:3, :3], axis=0), 1, atol=1e-3))

    def _as_itk_takes_it(self) -> np.ndarray | None:
        """Return where ITK puts the image (itkNiftiImageIO.cxx, ITK 5.4); None where it would not or cannot."""
        if not self.sized:
            return None
        q, s = self.codes
        form = self.qform
        if self.sform is not None and _is_orthonormal(self.sform) and (not q or s == _SCANNER_ANAT):
            form = self.sform
        # The directions are the form's, the sizes always pixdim's.
        return None if form is None else _affine(_directions(form), self.sizes, form[:3, 3])

    def _contradiction(self, best: np.ndarray, taken: np.ndarray, *, as_itk: bool) -> str:
        q, s = self.codes
        rivals = [other for other in (self.qform, self.sform, self._as_itk_takes_it()) if other is not None]
        apart = max(apart_mm(best, other, self.shape) for other in rivals)
        far = f", up to {apart:.3g} mm apart" if np.isfinite(apart) and apart else ""
        if q and s and (self.qform is None or not are_one_place(best, self.qform, self.shape)):
            what = f"its qform (code {q}) and its sform (code {s}) differ"
        elif s:
            what = "the voxels of its sform and those of its pixdim differ in size"
        else:
            what = "its pixdim holds a negative size"
        sentence = f"'{self.name}' names two places for its voxels{far}: {what}."
        is_qform = self.qform is not None and are_one_place(taken, self.qform, self.shape)
        is_sform = self.sform is not None and are_one_place(taken, self.sform, self.shape)
        which = "qform" if is_qform else "sform" if is_sform else "size and sign of pixdim"
        how = "as Slicer does; it may be the wrong one" if as_itk else "which Slicer does not do"
        return f"{sentence} The {which} was taken, {how}."


def _rotation(quaternion: np.ndarray) -> np.ndarray | None:
    """Return the 3x3 rotation of b, c, d; None where they are none."""
    square = 1 - float(quaternion @ quaternion)
    if not square >= -_QUATERNION_TOLERANCE:  # not a number neither
        return None
    a = np.sqrt(max(square, 0.0))
    b, c, d = quaternion / max(np.linalg.norm([a, *quaternion]), 1.0)
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def _affine(directions: np.ndarray, sizes: np.ndarray, origin: np.ndarray) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = directions * sizes
    affine[:3, 3] = origin
    return affine


def _directions(affine: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)


def _is_orthonormal(affine: np.ndarray) -> bool:
    directions = _directions(affine)
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.abs(directions @ directions.T - np.eye(3)).max() <= _ITK_ORTHONORMAL)
