"""Ways to damage files: bytes, numbers, lines of text, compressed streams."""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence

Bytes = Callable[[bytes, random.Random], bytes]

INTEGERS = (
    *(0, 1, -1, 2, 3, 4, 5, 7, 8, 10, 16, 100, 127, 128, 255, 256, 32767, 32768, 65535, 65536),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, -(2**31), -(2**63), -(2**15)),
)
FLOATS = (0.0, -0.0, 1e-310, 1e300, -1e300, 3.5e38, float("nan"), float("inf"), -float("inf"), 0.5, -1.0)
NUMBERS_AS_TEXT = (
    *(str(number) for number in INTEGERS),
    *("nan", "inf", "-inf", "1e999", "-1e308", "1e-320", "0x10", "1_000", "٣", "", " ", "9" * 5000, "-", "1.5", "1,5"),
)
ODD_TEXT = (
    *(
        "%s%s%s%n",
        "%n" * 50,
        "%03d",
        "A" * 1000,
        "A" * 70_000,
        "\xff\xfe",
        "\0",
        "\r",
        "\n\n",
        "\t",
        "=",
        ":",
        ":=",
        "#",
    ),
    *("/etc/passwd", "/dev/zero", "/dev/stdin", "../up", "C:\\up", "..\\up", "LIST", "LOCAL", ".", "none", "(1,0,0)"),
    *("\u202e", "\x1b[31m", "💀", "{}", "[[[[", "null", "true"),
)
FORMATS = [order + code for order in "<>" for code in "bhiqfd"]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Damage bytes without knowing what they are, once or a few times."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        data = chance.choice(BLIND)(data, chance)
    return data


def flip(data: bytes, chance: random.Random) -> bytes:
    return overwrite(data, at := place(data, chance), bytes([data[at] ^ (1 << chance.randrange(8))])) if data else data


def set_byte(data: bytes, chance: random.Random) -> bytes:
    value = chance.choice((0, 0xFF, 0x7F, 0x80, 0x20, 0x0A, chance.randrange(256)))
    return overwrite(data, place(data, chance), bytes([value]))


def set_number(data: bytes, chance: random.Random) -> bytes:
    return overwrite(data, place(data, chance), number(chance.choice(FORMATS), chance))


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def remove(data: bytes, chance: random.Random) -> bytes:
    at = place(data, chance)
    return data[:at] + data[at + chance.randrange(1, 64) :]


def repeat(data: bytes, chance: random.Random) -> bytes:
    at = place(data, chance)
    part = data[at : at + chance.randrange(1, 64)]
    return data[:at] + part * chance.choice((2, 3, 50)) + data[at + len(part) :]


def insert(data: bytes, chance: random.Random) -> bytes:
    at = place(data, chance)
    new = chance.choice((bytes(chance.randrange(1, 300)), chance.randbytes(chance.randrange(1, 20)), b"A" * 2000))
    return data[:at] + new + data[at:]


def append(data: bytes, chance: random.Random) -> bytes:
    return data + chance.randbytes(chance.randrange(1, 100))


BLIND: tuple[Bytes, ...] = (flip, flip, set_byte, set_number, set_number, cut, remove, repeat, insert, append)


def place(data: bytes, chance: random.Random) -> int:
    """Return an index; the beginning, where headers are, is hit as often as all the rest."""
    return chance.randrange(max(len(data), 1)) if chance.random() < 0.5 else chance.randrange(min(len(data), 400) or 1)


def overwrite(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def number(form: str, chance: random.Random) -> bytes:
    """Return a number that is odd for its form: of ``struct``."""
    if form[-1] in "fd":
        value = chance.choice((*FLOATS, float(chance.choice(INTEGERS)), chance.uniform(-10, 1000)))
        return _packed_float(form, value)
    size = 8 * struct.calcsize(form)
    value = chance.choice((*INTEGERS, chance.randrange(2**size)))
    return (value % 2**size).to_bytes(size // 8, "big" if form[0] == ">" else "little")


def _packed_float(form: str, value: float) -> bytes:
    try:
        return struct.pack(form, value)
    except OverflowError:
        return struct.pack(form, float("inf"))


def fields(known: Mapping[str, int | tuple[int, ...]]) -> Bytes:
    """Return a mutation of binary headers: ``known`` names forms of ``struct`` and where such numbers lie."""
    places = [(form, at) for form, ats in known.items() for at in ([ats] if isinstance(ats, int) else ats)]

    def mutate(data: bytes, chance: random.Random) -> bytes:
        for _ in range(chance.choice((1, 1, 2, 4))):
            form, at = chance.choice(places)
            data = overwrite(data, at, number(form, chance))
        return data

    return mutate


def lines(end: bytes | None = None, words: Sequence[str] = ()) -> Bytes:
    """Return a mutation of headers of text.

    Args:
        end: What the header ends with; what follows is left alone. None where everything is text.
        words: That mean something in such headers.
    """

    def mutate(data: bytes, chance: random.Random) -> bytes:
        length = len(data)
        if end is not None and end in data:
            length = data.index(end) + len(end)
        header, rest = data[:length].split(b"\n"), data[length:]
        for _ in range(chance.choice((1, 1, 2, 3))):
            at = chance.randrange(len(header))
            kind = chance.randrange(8)
            if kind == 0:
                header[at:at] = [header[chance.randrange(len(header))]]
            elif kind == 1 and len(header) > 1:
                del header[at]
            elif kind == 2:
                other = chance.randrange(len(header))
                header[at], header[other] = header[other], header[at]
            elif kind == 3:
                header[at] = damaged(header[at], chance)
            else:
                header[at] = _another_word(header[at], chance, words)
        return b"\n".join(header) + rest

    return mutate


def _another_word(line: bytes, chance: random.Random, words: Sequence[str]) -> bytes:
    parts = line.split(b" ")
    new = chance.choice((chance.choice(NUMBERS_AS_TEXT), chance.choice(ODD_TEXT), chance.choice(words or ODD_TEXT)))
    at = chance.randrange(len(parts))
    # Latin-1 gives bytes that are no UTF-8.
    parts[at] = new.encode("utf-8") if chance.random() < 0.8 else new.encode("latin-1", "replace")
    if chance.random() < 0.1:
        parts[at:at] = [parts[at]] * (chance.choice((1, 20, 3000)) if len(parts[at]) < 100 else 1)
    return b" ".join(parts)


def packed(inner: Bytes, offset_of: Callable[[bytes], int] = lambda data: 0, *, raw_zlib: bool = False) -> Bytes:
    """Return a mutation of what is compressed in a file, which is then compressed again; seldom of the packing."""
    pack = zlib.compress if raw_zlib else (lambda data: gzip.compress(data, 6, mtime=0))

    def mutate(data: bytes, chance: random.Random) -> bytes:
        start = offset_of(data)
        if chance.random() < 0.2:
            return data[:start] + damaged(data[start:], chance)
        plain = zlib.decompress(data[start:], zlib.MAX_WBITS | 32)
        return data[:start] + pack(inner(plain, chance))

    return mutate


def one_of(*kinds: Bytes) -> Bytes:
    """Return a mutation that is one of several, by chance."""
    return lambda data, chance: chance.choice(kinds)(data, chance)
