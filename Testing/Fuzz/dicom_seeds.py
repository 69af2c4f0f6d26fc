"""DICOM files made from nothing but bytes, in every way of storing pixels that can be made here."""

from __future__ import annotations

import random
import struct
import tempfile
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np

from Fuzz.mutation import FLOATS, INTEGERS, NUMBERS_AS_TEXT, ODD_TEXT, damaged

Element = tuple[int, int, bytes, bytes]  # group, number, value representation, value

ROWS, COLUMNS = 12, 16
LONG = (b"OB", b"OW", b"SQ", b"UN", b"OF", b"OD", b"UT")
EXPLICIT, DEFLATED, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG_BASELINE, JPEG_LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
PIXELS = (0x7FE0, 0x0010)


def pixels(rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Return the pixels of a slice, signed 16 bits, [J, I]."""
    return (7 * np.arange(rows * columns).reshape(rows, columns) % 900 - 100).astype("<i2")


def slice_elements(height: float, rows: int = ROWS, columns: int = COLUMNS, bits: int = 16) -> list[Element]:
    """Return the elements of a slice that lies at a height in mm, without pixels."""

    def text(group: int, number: int, kind: bytes, value: str) -> Element:
        return group, number, kind, value.encode()

    def short(group: int, number: int, value: int) -> Element:
        return group, number, b"US", struct.pack("<H", value)

    return [
        text(0x0008, 0x0016, b"UI", "1.2.840.10008.5.1.4.1.1.2"),
        text(0x0008, 0x0018, b"UI", f"1.2.3.4.{round(height)}"),
        text(0x0008, 0x0060, b"CS", "CT"),
        text(0x0008, 0x103E, b"LO", "made up"),
        text(0x0020, 0x000E, b"UI", "1.2.3.4"),
        text(0x0020, 0x0032, b"DS", f"7\\-8\\{height}"),
        text(0x0020, 0x0037, b"DS", "1\\0\\0\\0\\1\\0"),
        short(0x0028, 0x0002, 1),
        text(0x0028, 0x0004, b"CS", "MONOCHROME2"),
        text(0x0028, 0x0008, b"IS", "1"),
        short(0x0028, 0x0010, rows),
        short(0x0028, 0x0011, columns),
        text(0x0028, 0x0030, b"DS", "2\\0.5"),
        short(0x0028, 0x0100, bits),
        short(0x0028, 0x0101, bits),
        short(0x0028, 0x0102, bits - 1),
        short(0x0028, 0x0103, int(bits == 16)),
        (0x0028, 0x0120, b"SS", struct.pack("<h", -2000)),
        text(0x0028, 0x1052, b"DS", "-1024"),
        text(0x0028, 0x1053, b"DS", "1.5"),
    ]


def file_of(elements: list[Element], syntax: str = EXPLICIT, *, encapsulated: bool = False) -> bytes:
    """Return a DICOM file; encapsulated pixels are a value of items and get their delimiter."""
    meta = encoded([(0x0002, 0x0002, b"UI", b"1.2.840.10008.5.1.4.1.1.2"), (0x0002, 0x0010, b"UI", syntax.encode())])
    body = encoded(elements, encapsulated=encapsulated)
    if syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflate.compress(body) + deflate.flush()
    return bytes(128) + b"DICM" + meta + body


def encoded(elements: list[Element], *, encapsulated: bool = False) -> bytes:
    """Return elements as explicit, little-endian bytes."""
    parts = []
    for group, number, kind, value in elements:
        even = value + (b"\0" if kind in (b"UI", *LONG) else b" ") * (len(value) % 2)
        head = struct.pack("<HH", group, number) + kind
        if encapsulated and (group, number) == PIXELS:
            parts.append(head + b"\0\0\xff\xff\xff\xff" + even + b"\xfe\xff\xdd\xe0\0\0\0\0")
        elif kind in LONG:
            parts.append(head + b"\0\0" + struct.pack("<L", len(even)) + even)
        else:
            parts.append(head + struct.pack("<H", len(even) % 65536) + even)
    return b"".join(parts)


def items(*frames: bytes) -> bytes:
    """Return an offset table, which is empty, and fragments as items."""
    even = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    return b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<L", len(part)) + part for part in (b"", *even))


def plain_file(height: float, syntax: str = EXPLICIT) -> bytes:
    return file_of([*slice_elements(height), (*PIXELS, b"OW", pixels().tobytes())], syntax)


def compressed_file(height: float, syntax: str) -> bytes:
    frame, rows, columns, bits = frame_of(syntax)
    pixel_element = (*PIXELS, b"OB", items(frame))
    return file_of([*slice_elements(height, rows, columns, bits), pixel_element], syntax, encapsulated=True)


@cache
def frame_of(syntax: str) -> tuple[bytes, int, int, int]:
    """Return a compressed frame with its rows, columns and bits."""
    if syntax == RLE:
        from pydicom.pixels.encoders.native import _encode_segment

        halves = [pixels().view("u1").reshape(ROWS, COLUMNS, 2)[..., byte] for byte in (1, 0)]
        segments = [bytes(_encode_segment(half.tobytes(), columns=COLUMNS)) for half in halves]
        starts = [64, 64 + len(segments[0])]
        return struct.pack("<16L", 2, *starts, *[0] * 13) + b"".join(segments), ROWS, COLUMNS, 16
    if syntax == JPEG_BASELINE:
        from PIL import Image

        stream = BytesIO()
        Image.fromarray((pixels() // 8 + 20).astype("u1")).save(stream, "JPEG")
        return stream.getvalue(), ROWS, COLUMNS, 8
    if syntax == JPEG_LS:  # None of the libraries here writes it, but pydicom brings an example.
        from pydicom.data import get_testdata_file

        return _frame_in(Path(str(get_testdata_file("MR_small_jpeg_ls_lossless.dcm", download=False)))), 64, 64, 16
    import SimpleITK

    with tempfile.TemporaryDirectory() as folder:
        writer = SimpleITK.ImageFileWriter()
        writer.SetFileName(f"{folder}/image.dcm")
        writer.SetUseCompression(True)
        writer.SetCompressor({JPEG_LOSSLESS: "JPEG", JPEG_2000: "JPEG2000"}[syntax])
        writer.Execute(SimpleITK.GetImageFromArray(pixels(32, 32)[None]))
        return _frame_in(Path(folder, "image.dcm")), 32, 32, 16


def _frame_in(path: Path) -> bytes:
    import pydicom
    from pydicom.encaps import generate_frames

    return next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))


# --- Damage -----------------------------------------------------------------------------------------------------------


def mutate_elements(data: bytes, chance: random.Random) -> bytes:
    """Damage elements of a file that ``file_of`` made: values, representations, order, lengths."""
    head, elements = data[:132], _elements(data, 132)
    if not elements:
        return damaged(data, chance)
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(elements))
        kind = chance.randrange(10)
        if kind == 0 and len(elements) > 1:
            del elements[at]
        elif kind == 1:
            elements.insert(at, elements[chance.randrange(len(elements))])
        elif kind == 2:
            element = elements[at]
            new = chance.choice((b"UN", b"SQ", b"OB", b"US", b"DS", b"LO", b"FD", b"??", b"UT"))
            elements[at] = element[:4] + new + element[6:]
        elif kind == 3:
            elements[at] = _with_length(elements[at], chance)
        elif kind == 4:
            elements[at] = damaged(elements[at], chance)
        else:
            elements[at] = _with_value(elements[at], chance)
    return head + b"".join(elements)


def mutate_frame(data: bytes, chance: random.Random) -> bytes:
    """Damage the bytes of compressed pixels, whose items keep their lengths, and nothing else."""
    at = data.find(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff")
    start = at + 12 + 8 + 8
    if at < 0 or start >= len(data) - 8:
        return damaged(data, chance)
    frame, end = bytearray(data[start:-8]), data[-8:]
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if not frame:
            break
        # The parameters are at the beginning.
        place = chance.randrange(min(len(frame), 120)) if chance.random() < 0.6 else chance.randrange(len(frame))
        if chance.random() < 0.5:
            frame[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif chance.random() < 0.5:
            frame[place : place + 2] = struct.pack(">H", chance.choice(INTEGERS) % 65536)
        elif chance.random() < 0.6:
            frame[place : place + 4] = struct.pack(">L", chance.choice(INTEGERS) % 2**32)
        else:
            del frame[place : place + chance.randrange(1, 20)]
    if len(frame) % 2:
        frame.append(0)
    return data[: start - 4] + struct.pack("<L", len(frame)) + bytes(frame) + end


def _elements(data: bytes, start: int) -> list[bytes]:
    found = []
    while start + 8 <= len(data):
        kind = data[start + 4 : start + 6]
        if kind in LONG:
            length = int.from_bytes(data[start + 8 : start + 12], "little")
            end = len(data) if length == 0xFFFFFFFF else start + 12 + length
        else:
            end = start + 8 + int.from_bytes(data[start + 6 : start + 8], "little")
        found.append(data[start:end])
        start = end
    return found


def _with_length(element: bytes, chance: random.Random) -> bytes:
    if element[4:6] in LONG:
        return element[:8] + struct.pack("<L", chance.choice(INTEGERS) % 2**32) + element[12:]
    return element[:6] + struct.pack("<H", chance.choice(INTEGERS) % 2**16) + element[8:]


def _with_value(element: bytes, chance: random.Random) -> bytes:
    kind = element[4:6]
    if kind in (b"US", b"SS"):
        value = struct.pack("<H", chance.choice(INTEGERS) % 65536) * chance.choice((1, 1, 1, 2))
    elif kind in LONG:
        return element[:12] + damaged(element[12:], chance)
    else:
        words = element[8:].split(b"\\")
        odd = chance.choice((*NUMBERS_AS_TEXT, *ODD_TEXT, *(str(number) for number in FLOATS)))
        words[chance.randrange(len(words))] = odd.encode("utf-8")[:60_000]
        value = b"\\".join(words)
        value += b" " * (len(value) % 2)
    return element[:6] + struct.pack("<H", len(value)) + value
