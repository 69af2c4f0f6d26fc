"""Percentiles of many values in steps, exact."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from upgan.stepwise.steps import STEP_VOXELS, spans

_SAMPLE = 20_000
# To either side of the rank that is looked for, in standard errors of a sample's median.
_MARGIN = 4.0


def percentile_stepwise(values: np.ndarray, percent: float) -> Generator[None, None, float]:
    """Return ``numpy.percentile(values, percent)``, linear between neighbouring ranks, in steps.

    Args:
        values: One-dimensional, at least one; NaN where one of them is.
        percent: The rank that is looked for, in [0, 100].
    """
    for span in spans(values.size):
        if np.isnan(values[span]).any():
            return float("nan")
        yield
    last = values.size - 1
    rank = last * (percent / 100)
    if rank >= last:
        return float((yield from _ranked_stepwise(values, last)))
    below = int(rank)
    low = yield from _ranked_stepwise(values, below)
    high = yield from _ranked_stepwise(values, below + 1)
    # In the values' own precision; from the nearer end, as numpy does.
    share, difference = rank - below, high - low
    return float(low + difference * share if share < 0.5 else high - difference * (1 - share))


def _ranked_stepwise(values: np.ndarray, rank: int) -> Generator[None, None, np.number]:
    """Return the value of a rank, the lowest having rank 0.

    Two values close to the rank, found in a sample, part the others; what lies on the wrong side is left out, until
    few are left. As they leave out themselves too, it ends, however the values are distributed.
    """
    while values.size > STEP_VOXELS:
        sample = np.sort(values[:: -(-values.size // _SAMPLE)])
        margin = _MARGIN * np.sqrt(sample.size) / 2
        expected = rank / values.size * sample.size
        low = sample[int(max(expected - margin, 0))]
        high = sample[int(min(expected + margin, sample.size - 1))]
        counts = np.zeros(4, dtype=np.int64)
        for span in spans(values.size):
            part = values[span]
            counts += [np.count_nonzero(test) for test in (part < low, part <= low, part < high, part <= high)]
            yield
        under, to_low, to_high, through_high = counts
        if under <= rank < to_low:
            return low
        if to_high <= rank < through_high:
            return high
        kept = []
        for span in spans(values.size):
            part = values[span]
            if rank < under:
                kept.append(part[part < low])
            elif rank >= through_high:
                kept.append(part[part > high])
            else:
                kept.append(part[(part > low) & (part < high)])
            yield
        values = np.concatenate(kept)
        rank -= 0 if rank < under else int(through_high) if rank >= through_high else int(to_low)
    return np.partition(values, rank)[rank]
