"""What is said of files that cannot be read as one grey-value image, whatever their format."""

from pathlib import Path

from upgan.errors import InputError

LONGEST_SHOWN = 300


def shown(text: str, longest: int = LONGEST_SHOWN) -> str:
    """Return what a file says so that it can stand in a sentence: of one line, not long, and nothing to a terminal."""
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in cut
    )


def not_an_image(path: Path) -> InputError:
    """Return the refusal of a file in which nothing that can be read says it is an image."""
    return InputError(
        "not_an_image",
        f"'{path.name}' is not an image that can be read.",
        "Choose a NIfTI, NRRD, MetaImage or DICOM file; a .nhdr needs its data file beside it.",
    )


def truncated(path: Path) -> InputError:
    """The file begins as an image and ends too early, or its bytes are wrong."""
    return InputError(
        "truncated_file", f"'{path.name}' is damaged or incomplete.", "Copy, download or export the file again."
    )


def unreadable(path: Path) -> InputError:
    """The program that decodes the file died of it, or took more time or memory than any such file should."""
    return InputError(
        "unreadable_image",
        f"'{path.name}' cannot be read: the program that decodes its pixels failed.",
        "Export the series again, without compression where you can; the file as it is may end other programs, too.",
    )


def several_frames(path: Path, frames: int) -> InputError:
    """There is more than one value at each position: time, channels, vectors."""
    return InputError(
        "not_three_dimensional",
        f"'{path.name}' holds {frames} values or frames at each position instead of one image.",
        "Extract one frame and choose that.",
    )


def colour(path: Path) -> InputError:
    """Return the refusal of a colour image: red, green and blue are no intensities."""
    return InputError("colour_image", f"'{path.name}' is a colour image.", "Choose the grey-value image.")


def complex_valued(path: Path) -> InputError:
    """Return the refusal of complex numbers: which part of them would be meant is the user's to say."""
    return InputError(
        "not_real_valued", f"'{path.name}' holds complex numbers.", "Export the magnitude image and choose that."
    )


def multi_frame(path: Path) -> InputError:
    """Return the refusal of a file of many frames, whose places DICOM keeps where ITK does not look."""
    return InputError(
        "multi_frame",
        f"'{path.name}' holds many DICOM frames in one file, whose positions cannot be read safely.",
        "Load it through Slicer's DICOM module and translate the loaded volume.",
    )


def bad_header(path: Path, fault: str) -> InputError:
    """The header says something that cannot be; ``fault`` names it: "its dim[2] is -1"."""
    return InputError(
        "bad_header", f"The header of '{path.name}' is wrong: {shown(fault)}.", "Export or convert the image again."
    )


def missing_data(path: Path, name: str) -> InputError:
    """The header lies in one file, the voxels in another, which is not there."""
    name = shown(name)
    return InputError(
        "file_not_found",
        f"'{path.name}' keeps its voxels in the file '{name}', which is not beside it.",
        f"Copy '{name}' into the same folder, under this name.",
    )


def scattered_data(path: Path) -> InputError:
    """The voxels lie in several files, or in a file somewhere else."""
    return InputError(
        "unsupported_format",
        f"'{path.name}' keeps its voxels in several files or in another folder.",
        "Load it into Slicer and save it as one NRRD file.",
    )
