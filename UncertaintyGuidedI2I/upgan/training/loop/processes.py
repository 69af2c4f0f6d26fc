"""One process or many: who the others are, and what they must share so that they compute what one would."""

from __future__ import annotations

import datetime
import logging
import os

import torch
import torch.distributed
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from upgan.errors import DeviceError
from upgan.inference.devices import choose_device, choose_precision
from upgan.training.settings.config import ComputeConfig

# Which arithmetic is used is in the configuration, and on the model's card.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

# The first process reads and caches the data while the others wait.
_PATIENCE = datetime.timedelta(hours=24)


def make_fabric(compute: ComputeConfig) -> Fabric:
    """Set up device, precision and, under ``torchrun`` or SLURM, the group of processes.

    Raises:
        DeviceError: The device or precision is not there, or there are fewer GPUs than processes.
    """
    device = choose_device(compute.device).device
    precision = "bf16-mixed" if choose_precision(compute.precision, device) == torch.bfloat16 else "32-true"
    local, nodes = _processes()
    if local * nodes == 1:
        one = [device.index or 0] if device.type == "cuda" else 1
        return Fabric(accelerator=device.type, devices=one, precision=precision)  # type: ignore[arg-type]
    if device.type == "cuda" and torch.cuda.device_count() < local:
        raise DeviceError(
            "too_few_gpus",
            f"{local} processes were started on a computer with {torch.cuda.device_count()} GPU(s).",
            "Start as many processes as there are GPUs.",
        )
    backend = "nccl" if device.type == "cuda" else "gloo"
    fabric = Fabric(
        accelerator=device.type,
        devices=local,
        num_nodes=nodes,
        precision=precision,  # type: ignore[arg-type]
        # Statistics are shared by SharedBatchNorm2d; broadcasting them would only cost.
        strategy=DDPStrategy(process_group_backend=backend, timeout=_PATIENCE, broadcast_buffers=False),
    )
    fabric.launch()
    return fabric


def _processes() -> tuple[int, int]:
    """Return processes on this computer and computers, as torchrun or SLURM name them."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    if "SLURM_NTASKS" in os.environ and "SLURM_PROCID" in os.environ:
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        return int(os.environ["SLURM_NTASKS"]) // nodes, nodes
    return 1, 1


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes together, on any device.

    PyTorch's own SyncBatchNorm works on GPUs only; this one lets the processes of a CPU compute what a GPU's do.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → same shape; in eval mode as any batch normalisation."""
        if not self.training:
            return super().forward(x)
        count = x.numel() / x.shape[1] * torch.distributed.get_world_size()
        sums = torch.stack([x.float().sum((0, 2, 3)), x.float().square().sum((0, 2, 3))])
        mean, mean_square = all_reduce(sums) / count
        variance = (mean_square - mean.square()).clamp_min(0)
        if self.running_mean is not None and self.running_var is not None and self.momentum is not None:
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
                self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (x.float() * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


def share_batch_norm(module: nn.Module, fabric: Fabric) -> nn.Module:
    """Let a network's batch normalisations look at all processes' batches; nothing where there is one process."""
    if fabric.world_size > 1:
        for part in module.modules():
            if type(part) is nn.BatchNorm2d:
                part.__class__ = SharedBatchNorm2d
    return module


def share_of_total(weight: Tensor, fabric: Fabric) -> Tensor:
    """What each process divides its weighted sum by, so that the mean of all quotients is the mean over all pixels."""
    total = weight.sum()
    return total if fabric.world_size == 1 else fabric.all_reduce(total, reduce_op="mean")  # type: ignore[return-value]
