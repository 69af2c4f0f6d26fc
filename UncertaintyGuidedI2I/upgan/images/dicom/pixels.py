"""The pixels of one DICOM file as the quantity they stand for: stored values, rescaled, and nothing about display.

Whether an image is shown inverted (MONOCHROME1, a presentation LUT), and through which window or VOI LUT, says nothing
about its values (PS3.3 C.7.6.3.1.2, C.11.2), so that none of it is looked at here.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from upgan.errors import InputError
from upgan.images.dicom.headers import DELIMITER, Header, open_dicom
from upgan.images.dicom.reader_process import ReaderProcess
from upgan.images.hounsfield import AIR_HU
from upgan.images.unreadable import colour, multi_frame, several_frames, truncated

UNCOMPRESSED = (
    "",
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
# What pydicom decodes only with packages that Slicer does not have.
JPEG = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)

INTEGERS = 0x0010
BITS = (8, 16, 32)


def check_pixels(header: Header) -> None:
    """Refuse pixels that are no grey values, or stored in a way that is not read. Nothing is decoded.

    Raises:
        InputError: ``multi_frame``, ``colour_image``, ``not_three_dimensional`` or ``unsupported_format``.
    """
    if header.frames > 1:
        raise multi_frame(header.path)
    if header.samples in (3, 4) or header.text("PhotometricInterpretation") == "PALETTE COLOR":
        raise colour(header.path)
    if header.samples != 1:
        raise several_frames(header.path, header.samples)
    if header.syntax not in (*UNCOMPRESSED, RLELossless, *JPEG):
        raise _unsupported(header.path, UID(header.syntax).name)
    if header.pixels is not None and header.pixels.element != INTEGERS:
        raise _unsupported(header.path, "floating-point pixels")
    bits = header.integer("BitsAllocated", 16)
    if bits not in BITS:
        raise _unsupported(header.path, f"pixels of {bits} bits")
    if "ModalityLUTSequence" in header.tags:
        raise _unsupported(header.path, "numbers of a table that says what they stand for (Modality LUT Sequence)")


def _unsupported(path: Path, form: str) -> InputError:
    return InputError(
        "unsupported_format",
        f"'{path.name}' holds its pixels in a form that is not read here: {form}.",
        "Load it through Slicer's DICOM module and translate the loaded volume.",
    )


def quantity(header: Header, reader: ReaderProcess) -> np.ndarray:
    """Return the pixels as the quantity that they stand for.

    That is slope times stored value plus intercept. In CT, pixels that the file declares to be padding (outside the
    scanner's field of view) become air, -1000 HU, provided that the declared value is below that: no tissue has it.

    Args:
        header: The header of a whole file that ``check_pixels`` lets pass.
        reader: Decodes what pydicom cannot.

    Returns:
        float32 [J, I]: rows, columns.

    Raises:
        InputError: ``truncated_file``: the pixels cannot be decoded; ``unreadable_image``: decoding them went wrong.
        OSError: The file cannot be read.
    """
    stored = stored_values(header, reader)
    slope, intercept = _number(header, "RescaleSlope", 1), _number(header, "RescaleIntercept", 0)
    with np.errstate(over="ignore"):
        # A slope like 0.1 is not exact in float32, so that the product is made in float64.
        values = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    if header.text("Modality") == "CT":
        padding = _padding(header)
        if padding is not None and max(slope * limit + intercept for limit in padding) < AIR_HU:
            values[(stored >= padding[0]) & (stored <= padding[1])] = AIR_HU
    return values


def _number(header: Header, keyword: str, otherwise: float) -> float:
    """Return a number, or ``otherwise`` where the tag is absent or empty."""
    if not header.text(keyword):
        return otherwise
    try:
        return float(header.numbers(keyword, 1)[0])
    except ValueError as error:
        raise truncated(header.path) from error


def _padding(header: Header) -> tuple[int, int] | None:
    """Return the lowest and highest stored value that mean padding, None if none does."""
    if not header.text("PixelPaddingValue"):
        return None
    dtype = _stored_type(header)
    # Files exist that state -2000 as the unsigned 63536: what counts is the pattern of bits.
    pattern = (1 << 8 * dtype.itemsize) - 1
    ends = [header.integer(keyword, 0) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if not header.text("PixelPaddingRangeLimit"):
        ends[1] = ends[0]
    low, high = sorted(int(np.array(end & pattern, f"u{dtype.itemsize}").view(dtype)) for end in ends)
    return low, high


def stored_values(header: Header, reader: ReaderProcess) -> np.ndarray:
    """Return the stored values, before any rescaling.

    Args:
        header: The header of a whole file that ``check_pixels`` lets pass.
        reader: Decodes what pydicom cannot.

    Returns:
        Integers [J, I], of the width and sign that the file allocates, without the bits that it does not use.

    Raises:
        InputError: ``truncated_file``: the pixels cannot be decoded; ``unreadable_image``: decoding them went wrong.
        OSError: The file cannot be read.
    """
    assert header.pixels is not None
    compressed = header.pixels.encapsulated
    if compressed != (header.syntax not in UNCOMPRESSED):
        raise truncated(header.path)
    with open_dicom(header.path) as stream:
        stream.seek(header.pixels.offset)
        data = stream.read(header.pixels.length if compressed else header.pixel_bytes)
    dtype = _stored_type(header)
    try:
        if not compressed and header.pixels.little_endian:
            pixels = np.frombuffer(data, dtype.newbyteorder("<"))
        else:
            image = _bare_image(header, data)
            pixels = _decoded_by_gdcm(header, image, reader) if header.syntax in JPEG else image.pixel_array
    except (InputError, MemoryError):
        raise
    except Exception as error:
        # pydicom raises plain OSErrors of its own, e.g. for a number that does not fit; the system's have a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # Wrong numbers in a header or damaged pixels can make the decoders raise anything.
        raise truncated(header.path) from error
    columns, rows = header.size
    if pixels.size != rows * columns:
        raise truncated(header.path)
    values = np.ascontiguousarray(pixels.reshape(rows, columns)).astype(dtype, copy=False)
    return _used_bits(header, values)


def _stored_type(header: Header) -> np.dtype:
    sign = "i" if header.integer("PixelRepresentation", 0) == 1 else "u"
    return np.dtype(f"{sign}{header.integer('BitsAllocated', 16) // 8}")


def _used_bits(header: Header, values: np.ndarray) -> np.ndarray:
    """Return values without the bits above the highest and below the lowest that the file uses, sign extended."""
    allocated = 8 * values.itemsize
    used = header.integer("BitsStored", allocated)
    highest = header.integer("HighBit", used - 1)
    if not 0 < used <= highest + 1 <= allocated:
        used, highest = allocated, allocated - 1
    if used == allocated:
        return values
    return (values << (allocated - 1 - highest)) >> (allocated - used)


def _bare_image(header: Header, data: bytes) -> FileDataset:
    """Return a data set that has a file's pixels as they are stored, how they are stored, and nothing else."""
    assert header.pixels is not None
    compressed = header.pixels.encapsulated
    if compressed:
        data = data.removesuffix(DELIMITER + bytes(4))  # pydicom writes it anew.
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = UID(
        header.syntax if compressed else ExplicitVRLittleEndian if header.pixels.little_endian else ExplicitVRBigEndian
    )
    image = FileDataset(
        str(header.path),
        Dataset(),
        bytes(128),
        meta,
        is_implicit_VR=False,
        is_little_endian=header.pixels.little_endian,
    )
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Columns, image.Rows = header.size
    image.BitsAllocated = header.integer("BitsAllocated", 16)
    image.BitsStored, image.HighBit = image.BitsAllocated, image.BitsAllocated - 1
    if header.syntax in JPEG:  # Elsewhere pydicom would mask bits: the wrong ones where the used are not the lowest.
        image.BitsStored = header.integer("BitsStored", image.BitsAllocated)
        image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(header.integer("PixelRepresentation", 0) == 1)
    image.add_new("PixelData", header.pixels.representation, data)
    image["PixelData"].is_undefined_length = compressed
    if compressed and hasattr(image, "pixel_array_options"):  # from pydicom 3 on
        # Else C code that somebody has installed beside pydicom would see a stranger's bytes in this process.
        image.pixel_array_options(decoding_plugin="pydicom")
    return image


def _decoded_by_gdcm(header: Header, image: FileDataset, reader: ReaderProcess) -> np.ndarray:
    """Return the pixels of an image that pydicom cannot decode: the one place where C code sees a stranger's bytes.

    It sees them in another process, in a file of our own making with the pixels and no more, so that it can neither
    invert nor rescale them.
    """
    content = BytesIO()
    image.save_as(content)
    columns, rows = header.size
    return reader.pixels(header.path, content.getvalue(), (rows, columns), _stored_type(header))
