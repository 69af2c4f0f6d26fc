"""The header of one DICOM file, read by pydicom without its pixels and without trusting a length that it states."""

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Self, cast

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from upgan.errors import InputError
from upgan.images.unreadable import truncated

# What is read of a header; everything else is skipped, which is most of the time that a header takes.
TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "SeriesDescription",
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
]

FIRST_BYTES = 1024
PREAMBLE_BYTES = 128
MAGIC = b"DICM"
EXPLICIT_VRS = re.compile(rb"A[EST]|CS|D[AST]|F[DL]|I[S]|L[OT]|O[BDFLVW]|PN|S[HLQSTV]|TM|U[CILNRSTV]")
# A data set without preamble, as old scanners wrote it, begins with a short element of one of these groups.
FIRST_GROUPS = (0x0002, 0x0008)
LONGEST_FIRST_ELEMENT = 1024

# What is read of a deflated data set, so that a small file does not cost the memory of a large one: a slice of 5000 x
# 5000 pixels.
LARGEST_DEFLATED = 1 << 26

# How often a file is asked for its next bytes on the way to its pixels and through their fragments, a matter of about a
# second: once or twice an element, of which images that are one slice have hundreds.
MOST_READS = 1 << 18

PIXEL_ELEMENTS = (0x0008, 0x0009, 0x0010)  # of group 7FE0: float, double, integer
PIXEL_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")
UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"

# No compressed image takes less room than this part of its pixels, unless it is small: what promises more would cost
# the memory before it is found to be damaged.
BEST_COMPRESSION = 1032
SMALL_IMAGE = 1 << 26

DEFLATED = str(DeflatedExplicitVRLittleEndian).encode()
SAYS_DEFLATED = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(DEFLATED)) + DEFLATED
PLAIN = str(ExplicitVRLittleEndian).encode().ljust(len(DEFLATED), b"\0")


@dataclass(frozen=True)
class PixelElement:
    """The place of a file's pixels in its stream, and how they are written there.

    Attributes:
        element: 0x0010 for integers; 0x0008 and 0x0009 for floating-point numbers.
        representation: The value representation, "OB" or "OW" where the pixels are integers.
        offset: The place of the first byte of the value in the stream that ``open_dicom`` gives.
        length: In bytes, as the file states it; of encapsulated pixels, of all fragments with their delimiter.
        encapsulated: Whether the value is a list of compressed fragments.
        available: The bytes that are there from the offset to the end of the stream.
        little_endian: The order of bytes in a pixel.
    """

    element: int
    representation: str
    offset: int
    length: int
    encapsulated: bool
    available: int
    little_endian: bool


@dataclass(frozen=True)
class Header:
    """What one DICOM file says of itself.

    Attributes:
        path: The file.
        storage_class: The file's SOP Class UID; empty where damage hides it.
        syntax: The file's Transfer Syntax UID; empty where it does not say.
        tags: The values of those of ``TAGS`` that it has.
        pixels: The place of its pixels; None where it holds none.
        whole: False where the file ends too early, or cannot be understood, or has fewer bytes of pixels than its
            rows and columns need.
    """

    path: Path
    storage_class: str
    syntax: str
    tags: Dataset
    pixels: PixelElement | None
    whole: bool

    def text(self, keyword: str) -> str:
        """Return a tag's text, empty where the file does not have it."""
        try:
            value = self._value(keyword)
        except ValueError:
            return ""
        return "" if value is None else str(value).strip(" \0")

    def integer(self, keyword: str, otherwise: int) -> int:
        """Return a whole number, or ``otherwise`` where the file does not have it or has no number there."""
        try:
            return int(cast(Any, self._value(keyword)))
        except (TypeError, ValueError, OverflowError):
            return otherwise

    def numbers(self, keyword: str, count: int) -> np.ndarray:
        """Return ``count`` finite numbers as float64.

        Raises:
            ValueError: The file has something else there.
        """
        try:
            numbers = np.atleast_1d(np.array(self._value(keyword), np.float64))
        except TypeError as error:
            raise ValueError(keyword) from error
        if numbers.shape != (count,) or not np.isfinite(numbers).all():
            raise ValueError(keyword)
        return numbers

    @property
    def size(self) -> tuple[int, int]:
        """Return (columns, rows)."""
        return self.integer("Columns", 0), self.integer("Rows", 0)

    @property
    def frames(self) -> int:
        """Return how many images the file holds."""
        return max(self.integer("NumberOfFrames", 1), 1)

    @property
    def samples(self) -> int:
        """Return how many values a pixel has."""
        return self.integer("SamplesPerPixel", 1)

    @property
    def pixel_bytes(self) -> int:
        """Return how many bytes the decoded pixels of all frames take."""
        columns, rows = self.size
        return (columns * rows * self.samples * self.frames * self.integer("BitsAllocated", 16) + 7) // 8

    @property
    def is_to_hold_an_image(self) -> bool:
        """Tell whether there must be pixels, found or not."""
        return self.pixels is not None or "Rows" in self.tags or "Image Storage" in UID(self.storage_class).name

    def _value(self, keyword: str) -> object:
        try:
            return self.tags.get(keyword)
        except Exception as error:
            # A tag's value is interpreted when it is asked for, and pydicom raises whatever comes of it.
            raise ValueError(keyword) from error


class Stream:
    """The bytes of a file, of which none beyond its end are asked for: a length in a header may be any number.

    Attributes:
        overrun: Whether something was said to lie beyond the end.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self._reads = 0
        self.overrun = False

    def read(self, count: int = -1) -> bytes:
        """Return up to ``count`` bytes; all that are left where it is negative.

        Raises:
            ValueError: It is asked too often: a file may consist of millions of elements or fragments of nothing.
        """
        self._reads += 1
        if self._reads > MOST_READS:
            raise ValueError("more elements than any image has")
        left = max(self._size - self._file.tell(), 0)
        self.overrun |= 0 < left < count
        return self._file.read(left if count < 0 else min(count, left))

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place, which may lie beyond the end."""
        position = self._file.seek(offset, whence)
        self.overrun |= position > self._size
        return position

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._file.tell()

    def bytes_left(self) -> int:
        """Return the number of bytes from here to the end."""
        return max(self._size - self._file.tell(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings off the console of whoever calls; what matters is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def looks_like_dicom(path: Path) -> bool:
    """Tell from a file's first bytes whether it is DICOM, damaged or not.

    Args:
        path: A regular file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(PREAMBLE_BYTES + len(MAGIC))
    return head[PREAMBLE_BYTES:] == MAGIC or _begins_with_an_element(head)


def _begins_with_an_element(head: bytes) -> bool:
    """Tell whether bytes are the beginning of a data set without preamble, of either byte order."""
    if len(head) < 8:
        return False
    explicit = EXPLICIT_VRS.fullmatch(head[4:6]) is not None
    little, big = struct.unpack("<H", head[:2])[0], struct.unpack(">H", head[:2])[0]
    if big in FIRST_GROUPS and little not in FIRST_GROUPS:
        return explicit  # Implicit elements are little-endian.
    return little in FIRST_GROUPS and (explicit or struct.unpack("<L", head[4:8])[0] <= LONGEST_FIRST_ELEMENT)


def storage_class(path: Path) -> bytes | None:
    """Return the DICOM storage class from a file's first bytes, which outlive most damage.

    Returns:
        The SOP Class UID of the file's meta information, empty where that is damaged; None if it has no preamble.
    """
    with path.open("rb") as file:
        head = file.read(FIRST_BYTES)
    if head[PREAMBLE_BYTES : PREAMBLE_BYTES + len(MAGIC)] != MAGIC:
        return None
    element = re.search(rb"\x02\x00\x02\x00UI(..)", head, re.DOTALL)
    if element is None:
        return b""
    return head[element.end() :][: int.from_bytes(element[1], "little")].strip(b"\0")


def open_dicom(path: Path) -> Stream:
    """Open a DICOM file to read its header or pixels; a deflated one is inflated in memory.

    Raises:
        InputError: ``truncated_file``: a deflated file is damaged.
        OSError: It cannot be read.
    """
    file = path.open("rb")
    try:
        head = file.read(FIRST_BYTES)
        if SAYS_DEFLATED in head:
            inflated = _inflated(path, head + file.read())
            file.close()
            return Stream(BytesIO(inflated), len(inflated))
        size = file.seek(0, 2)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return Stream(file, size)


def _inflated(path: Path, content: bytes) -> bytes:
    """Return a deflated file as it would be without: with its meta information naming the plain syntax."""
    start = PREAMBLE_BYTES + len(MAGIC)
    while content[start : start + 2] == b"\x02\x00":  # The meta information's elements are explicit, little-endian.
        long = content[start + 4 : start + 6] in PIXEL_VRS
        field = content[start + 8 : start + 12] if long else content[start + 6 : start + 8]
        start += (12 if long else 8) + int.from_bytes(field, "little")
    try:
        plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[start:], LARGEST_DEFLATED)
    except zlib.error as error:
        raise truncated(path) from error
    return content[:start].replace(DEFLATED, PLAIN) + plain


def read_header(path: Path) -> Header:
    """Read what a DICOM file says of itself; never its pixels, and never more than the file has.

    Args:
        path: A regular file that looks like DICOM.

    Returns:
        The header. A file that is damaged gives what could be read of it, and says so in ``whole``.

    Raises:
        OSError: The file cannot be read.
    """
    damaged = Header(path, (storage_class(path) or b"").decode("ascii", "replace"), "", Dataset(), None, whole=False)
    try:
        stream = open_dicom(path)
    except InputError:
        return damaged
    with stream:
        try:
            tags = pydicom.dcmread(
                cast(Any, stream), stop_before_pixels=True, force=True, specific_tags=cast(Any, TAGS)
            )
            tags.buffer = None  # It would keep the stream, which may be a whole inflated file.
            pixels = _pixel_element(stream)
            header = Header(
                path,
                str(tags.get("SOPClassUID") or damaged.storage_class),
                str(tags.file_meta.get("TransferSyntaxUID") or ""),
                tags,
                pixels,
                whole=True,
            )
            return replace(header, whole=_is_whole(header, stream.overrun))
        except OSError as error:
            # pydicom raises plain OSErrors of its own where a sequence ends too early; the system's have a number.
            if error.errno is not None:
                raise
            return damaged
        except Exception:  # noqa: BLE001 - a damaged header can make pydicom raise anything
            return damaged


def _pixel_element(stream: Stream) -> PixelElement | None:
    """Return the element at which pydicom stopped, if there is one.

    It is read from its own bytes, for files exist whose pixels are encoded otherwise than their transfer syntax says.
    """
    head = stream.read(12)
    if len(head) < 8 or head[:2] not in (b"\xe0\x7f", b"\x7f\xe0"):
        return None
    order = "<" if head[0] == 0xE0 else ">"
    element = struct.unpack(f"{order}H", head[2:4])[0]
    if element not in PIXEL_ELEMENTS:
        return None
    # No implicit length can be taken for one of these: their first letter makes it odd, and lengths are even.
    explicit = head[4:6] in PIXEL_VRS
    length = struct.unpack(f"{order}L", head[8:12] if explicit else head[4:8])[0]
    if not explicit:
        stream.seek(-4, 1)
    offset, available = stream.tell(), stream.bytes_left()
    encapsulated = length == UNDEFINED_LENGTH
    if encapsulated:
        length = _length_of_fragments(stream)
    return PixelElement(
        element, head[4:6].decode() if explicit else "OW", offset, length, encapsulated, available, order == "<"
    )


def _length_of_fragments(stream: Stream) -> int:
    """Return the bytes of encapsulated pixels from their first item to the end of the last, or of the delimiter."""
    length = 0
    while len(head := stream.read(8)) == 8:
        tag, size = struct.unpack("<4sL", head)
        length += 8
        if tag != ITEM:
            # Anything but a delimiter means that the lengths are wrong: more than is there.
            return length if tag == DELIMITER else length + stream.bytes_left() + 1
        length += size
        stream.seek(size, 1)
    return length


def _is_whole(header: Header, overrun: bool) -> bool:
    """Tell whether a file has all that its header promises."""
    pixels = header.pixels
    if pixels is None:
        return not overrun and not header.is_to_hold_an_image
    if min(header.size) <= 0 or header.pixel_bytes <= 0:
        return False
    if header.samples > 1:
        return pixels.length <= pixels.available  # Colour may be subsampled; it is refused anyway.
    most = max(SMALL_IMAGE, BEST_COMPRESSION * pixels.length) if pixels.encapsulated else pixels.length
    return pixels.length <= pixels.available and header.pixel_bytes <= most
