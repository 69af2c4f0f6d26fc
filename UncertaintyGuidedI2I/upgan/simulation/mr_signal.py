"""The signal of one tissue in a T1-weighted gradient echo, plain or after an inversion, and of fat beside water."""

from __future__ import annotations

import math

GYROMAGNETIC_MHZ_PER_T = 42.577
"""Of the proton, over 2 pi."""

FAT_SHIFT_PPM = 3.5
"""Fat's main peak precesses this much more slowly than water."""


def spoiled_gradient_echo(
    density: float, t1_ms: float, t2_star_ms: float, flip_degrees: float, tr_ms: float, te_ms: float
) -> float:
    """Give the steady state of a spoiled gradient echo (Ernst): PD·sin a·(1 − E1)/(1 − cos a·E1)·exp(−TE/T2*)."""
    flip, e1 = math.radians(flip_degrees), math.exp(-tr_ms / t1_ms)
    steady = (1.0 - e1) / (1.0 - math.cos(flip) * e1)
    return density * math.sin(flip) * steady * math.exp(-te_ms / t2_star_ms)


def inversion_prepared_gradient_echo(
    density: float,
    t1_ms: float,
    t2_star_ms: float,
    flip_degrees: float,
    tr_ms: float,
    te_ms: float,
    ti_ms: float,
    cycle_ms: float,
    echoes: int,
) -> float:
    """Give the steady state of an MPRAGE at the centre of its train of echoes, with its sign.

    Args:
        density: Proton density.
        t1_ms: T1.
        t2_star_ms: T2*.
        flip_degrees: Of each pulse of the train.
        tr_ms: From pulse to pulse in the train.
        te_ms: Echo time.
        ti_ms: From the inversion to the middle of the train, where the centre of k-space is read.
        cycle_ms: From inversion to inversion.
        echoes: Pulses in the train.
    """
    flip, e1 = math.radians(flip_degrees), math.exp(-tr_ms / t1_ms)
    kept = math.cos(flip) * e1
    driven = (1.0 - e1) / (1.0 - kept)
    first_half = echoes // 2
    before, after = ti_ms - first_half * tr_ms, cycle_ms - ti_ms - (echoes - first_half) * tr_ms
    # Each period maps the longitudinal magnetisation m to factor·m + offset; a cycle is their chain.
    periods = [
        (-1.0, 0.0),
        _recovery(before, t1_ms),
        (kept**first_half, driven * (1.0 - kept**first_half)),
        (kept ** (echoes - first_half), driven * (1.0 - kept ** (echoes - first_half))),
        _recovery(after, t1_ms),
    ]
    factor, offset = 1.0, 0.0
    for own_factor, own_offset in periods:
        factor, offset = own_factor * factor, own_factor * offset + own_offset
    magnetisation = offset / (1.0 - factor)
    for own_factor, own_offset in periods[:3]:
        magnetisation = own_factor * magnetisation + own_offset
    return density * magnetisation * math.sin(flip) * math.exp(-te_ms / t2_star_ms)


def _recovery(time_ms: float, t1_ms: float) -> tuple[float, float]:
    left = math.exp(-time_ms / t1_ms)
    return left, 1.0 - left


def fat_offset_hz(field_t: float) -> float:
    """Give how much more slowly fat precesses than water: about 224 Hz at 1.5 T, 447 Hz at 3 T."""
    return FAT_SHIFT_PPM * GYROMAGNETIC_MHZ_PER_T * field_t
