"""What a run will cost, told before it starts: a step of it is tried, on noise and on few pixels.

Time is the step's, times all steps; memory is what the step kept for its way back, for as many pixels as the run has,
beside the weights and what Adam gathers. Both grow with the number of pixels, whatever they show.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import Tensor

from upgan.errors import DeviceError
from upgan.networks.build import build
from upgan.training.loop.processes import make_fabric
from upgan.training.loop.stage import Stage, StagePlan, plan_stages
from upgan.training.settings.config import Architecture, TrainingConfig
from upgan.training.slices.batches import epoch_steps

# Sides of the slices that steps are tried on, the last where there is time for it.
_SIDES = (32, 64, 128)
_GROWTH = 4
_SLICES = 2
_BUDGET_S = 3.0

# Batches are prepared and patients validated beside the steps, and frozen phases run once for all of them.
_BESIDE_STEPS = 1.15

_FLOAT = 4
# A parameter, its gradient, and Adam's two moments.
_TRAINED = 4 * _FLOAT
# What a convolution and its gradient need for themselves, and what allocators keep in pieces.
_FRAGMENTS = 1.3
# A process that has loaded PyTorch and Fabric, measured; CUDA's context on a card takes about the same.
_PROCESS_BYTES = 600_000_000


class Estimate(NamedTuple):
    """About what a run needs.

    Attributes:
        seconds: Time of the whole run if no stage ends early, s.
        memory_bytes: Memory of the graphics card that it takes, or of the computer where there is none.
    """

    seconds: float
    memory_bytes: int


def estimate(
    config: TrainingConfig, architecture: Architecture, canvas: tuple[int, int], slices: int, device: str
) -> Estimate:
    """Estimate a run; takes a few seconds.

    Args:
        config: The run.
        architecture: The sizes of its networks, which a base model may bring.
        canvas: Rows and columns of the slices.
        slices: The number of slices to train on.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        DeviceError: There is no such device, or ``out_of_memory`` where it has no room for a single step.
    """
    config = config.model_copy(update={"compute": config.compute.model_copy(update={"device": device})})
    plans = plan_stages(config, architecture.phases, slices)
    # Of all stages the one that keeps most: the others' steps take as much less as they do less.
    largest = max(plans, key=lambda plan: (len(plan.trained), plan.cost, plan.number))
    pixels = config.schedule.batch * canvas[0] * canvas[1]
    try:
        probe = _Probe(config, architecture, largest)
        step_s, kept = probe.run(pixels)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            "out_of_memory",
            "The graphics card has no room for a single step of this training.",
            "End other programs that use it, or choose a smaller network or the CPU.",
        ) from error
    work = sum(plan.epochs * epoch_steps(config, slices) * plan.cost / largest.cost for plan in plans)
    memory = _FRAGMENTS * kept + probe.fixed_bytes + _PROCESS_BYTES
    return Estimate(_BESIDE_STEPS * work * step_s, int(memory))


class _Step(NamedTuple):
    """How long it took, what it kept for its way back, and of how many pixels."""

    seconds: float
    kept: int
    pixels: int


class _Probe:
    """The networks of one stage, to take steps with."""

    def __init__(self, config: TrainingConfig, architecture: Architecture, plan: StagePlan) -> None:
        fabric = make_fabric(config.compute)
        self.device = fabric.device
        self._plan, self._cascade = plan, build(architecture)
        cascade = self._cascade
        cascade.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._stage = Stage(fabric, cascade, config, plan, steps=1)
        networks = [cascade, *self._stage.discriminators]
        trained = sum(w.numel() for network in networks for w in network.parameters() if w.requires_grad)
        copies = 2 if config.schedule.weight_averaging else 1
        everything = sum(w.numel() for w in cascade.parameters())
        self.fixed_bytes = copies * _FLOAT * everything + (_TRAINED - _FLOAT) * trained

    def run(self, pixels: int) -> tuple[float, float]:
        """Return seconds and bytes kept of a step on so many pixels, from steps on no more."""
        deadline = time.perf_counter() + _BUDGET_S
        self._step(_SIDES[0])  # once for Adam to make its moments
        tried: list[_Step] = []
        for side in _SIDES:
            # Two sizes at least, however long they take.
            if len(tried) > 1 and time.perf_counter() + _GROWTH * tried[-1].seconds > deadline:
                break
            first = self._step(side)
            # The first of a size also waits for libraries to choose their ways.
            is_late = time.perf_counter() + first.seconds > deadline
            tried.append(first if is_late else min(first, self._step(side)))
        small, large = tried[0], tried[-1]
        # What a step takes whatever its size - the optimisers, the calls - counts once.
        slope = max(large.seconds - small.seconds, 0.0) / (large.pixels - small.pixels)
        return large.seconds + slope * (pixels - large.pixels), large.kept * pixels / large.pixels

    def _step(self, side: int) -> _Step:
        """Take a step on square slices."""
        shape = (_SLICES, 1, side, side)
        a, b = torch.rand(2, *shape, device=self.device)
        # As it is read from the disk.
        given = {"handed_on": self._cascade.handed_on(a, self._plan.trained[0]).detach()} if self._plan.is_kept else {}
        kept = _KeptBytes()
        self._wait()
        started = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(kept.pack, kept.unpack):
            self._stage.step(self._past_warm_up, a, b, torch.ones_like(a), **given)
        self._wait()
        return _Step(time.perf_counter() - started, kept.most, a.numel())

    @property
    def _past_warm_up(self) -> int:
        loss = self._stage.config.loss
        return max(loss.l1_warm_up, self._stage.config.schedule.warm_up)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class _KeptBytes:
    """Follows the memory that forward passes leave for their backward passes; each piece counts once.

    Attributes:
        most: Bytes, at the moment when there were most.
    """

    def __init__(self) -> None:
        self._holders: dict[int, int] = {}
        self._now = 0
        self.most = 0

    def pack(self, tensor: Tensor) -> _Holder:
        """Count a tensor from now on, until the graph lets it go; weights are there anyway."""
        return _Holder(tensor, None if isinstance(tensor, torch.nn.Parameter) else self)

    def unpack(self, holder: _Holder) -> Tensor:
        """Hand the tensor back."""
        return holder.tensor

    def hold(self, storage: torch.UntypedStorage) -> None:
        """Count a piece of memory, if nothing else holds it."""
        holders = self._holders.get(storage.data_ptr(), 0)
        self._holders[storage.data_ptr()] = holders + 1
        if not holders:
            self._now += storage.nbytes()
            self.most = max(self.most, self._now)

    def let_go(self, storage: torch.UntypedStorage) -> None:
        """Count a piece of memory no more, once nothing holds it."""
        self._holders[storage.data_ptr()] -= 1
        if not self._holders[storage.data_ptr()]:
            self._now -= storage.nbytes()


class _Holder:
    """A tensor that a backward pass needs."""

    def __init__(self, tensor: Tensor, counter: _KeptBytes | None) -> None:
        self.tensor, self._counter = tensor, counter
        if counter is not None:
            counter.hold(tensor.untyped_storage())

    def __del__(self) -> None:
        if self._counter is not None:
            self._counter.let_go(self.tensor.untyped_storage())
