"""The authors' checkpoints (github.com/ExplainableML/UncerGuidedI2I): same networks, same wiring, safe loading.

Their first generator is a chain of U-Nets, each seeing the previous one's image plus the input, with three heads on
the last; later ones are single U-Nets that see concat[b̂, 1/α, β, a] with the raw outputs of the heads. There is no
σ and no attention. The loss adds 1e-5 to 1/α and 0.1 to β; so does the distribution here.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from upgan.errors import BundleError
from upgan.files import open_plain
from upgan.networks.architecture import PublishedArchitecture as PublishedArchitecture
from upgan.networks.unet import ResidualUNet
from upgan.networks.weights import refuse_senseless
from upgan.uncertainty.distribution import GeneralizedNormal

INVERSE_SCALE_EPSILON = 1e-5
CONCENTRATION_EPSILON = 0.1
_HEAD_CHANNELS = 128


class _ImageUNet(nn.Module):
    """A U-Net with an image head only: the links of a chain before its last."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.body = ResidualUNet(inputs, width, align_corners=True)
        self.image_head = nn.Conv2d(width, inputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.image_head(self.body(x).float())


class _ThreeHeadedUNet(nn.Module):
    """A U-Net with the published heads: image, 1/α and β, the last two cut at zero."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.body = ResidualUNet(inputs, width, align_corners=True)
        self.image_head = nn.Conv2d(width, 1, 1)
        self.inverse_scale_head, self.concentration_head = (
            nn.Sequential(nn.Conv2d(width, _HEAD_CHANNELS, 1), nn.Conv2d(_HEAD_CHANNELS, 1, 1), nn.ReLU())
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.body(x)
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            return (
                self.image_head(features),
                self.inverse_scale_head(features),
                self.concentration_head(features),
            )


class PublishedCascade(nn.Module):
    """The published wiring; call it on normalised slices [N, 1, H, W]."""

    def __init__(self, architecture: PublishedArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.generators = nn.ModuleList()
        for phase, links in enumerate(architecture.chains):
            inputs = 1 if phase == 0 else 4
            chain = [_ImageUNet(inputs, architecture.width) for _ in range(links - 1)]
            self.generators.append(nn.ModuleList([*chain, _ThreeHeadedUNet(inputs, architecture.width)]))

    @property
    def handed_on_channels(self) -> int:
        """C of what ``handed_on`` gives."""
        return 3

    def phases(self, a: Tensor) -> Iterator[GeneralizedNormal]:
        """Yield each phase's distribution of [N, 1, H, W] as soon as it is known.

        What is written into its ``loc`` before the next one is asked for is what the next phase is given.
        """
        for heads in self._heads(a):
            yield _distribution(heads)

    def handed_on(self, a: Tensor, phase: int) -> Tensor:
        """Return what a later phase, index from 1, is given of the one before: b̂, 1/α and β, [N, 3, H, W] float32."""
        return next(islice(self._heads(a), phase - 1, None))

    def _heads(self, a: Tensor) -> Iterator[Tensor]:
        """Yield the raw outputs of each phase, [N, 3, H, W]."""
        x = a
        for phase in range(len(self.generators)):
            heads = self._phase(phase, x)
            yield heads
            x = torch.cat([heads, a.float()], dim=1)

    def _phase(self, phase: int, x: Tensor) -> Tensor:
        y = x
        for link, unet in enumerate(cast(nn.ModuleList, self.generators[phase])):
            y = unet(y if link == 0 else y + x)
        return torch.cat(cast(tuple[Tensor, ...], y), dim=1)

    def forward(self, a: Tensor, count: int | None = None, handed_on: Tensor | None = None) -> list[GeneralizedNormal]:
        """Normalised slices [N, 1, H, W] → one distribution per phase, of the first ``count`` phases.

        Where it is known what phase ``count`` is given of those before it, see ``handed_on``, they are not run, and its
        distribution is the only one.
        """
        if handed_on is None:
            return list(islice(self.phases(a), count))
        seen = torch.cat([handed_on, a.float()], dim=1)
        return [_distribution(self._phase((count or len(self.generators)) - 1, seen))]


def _distribution(heads: Tensor) -> GeneralizedNormal:
    image, inverse_scale, concentration = heads.split(1, dim=1)
    scale = 1 / (inverse_scale + INVERSE_SCALE_EPSILON)
    return GeneralizedNormal(image, scale, concentration + CONCENTRATION_EPSILON, validate_args=False)


# Published name → ours, applied in this order.
_RENAMING = (
    (r"^(?!unet_list\.)", "unet_list.0."),
    (r"^unet_list\.(\d+)\.", r"\1."),
    (r"\.inc\.", ".body.encoder.0."),
    (r"\.down(\d)\.maxpool_conv\.1\.", r".body.encoder.\1."),
    (r"\.up(\d)\.conv\.", lambda match: f".body.decoder.{int(match[1]) - 1}."),
    (r"\.double_conv1\.", ".shallow."),
    (r"\.double_conv\.", ".deep."),
    (r"\.(?:outc|out_mean)\.conv\.", ".image_head."),
    (r"\.out_alpha\.(\d)\.conv\.", r".inverse_scale_head.\1."),
    (r"\.out_beta\.(\d)\.conv\.", r".concentration_head.\1."),
)

_FIRST_WEIGHT = "0.body.encoder.0.deep.0.weight"


def load_published_cascade(paths: Sequence[str | Path]) -> PublishedCascade:
    """Load the authors' state dicts, one ``.pth`` per phase, into a cascade in eval mode.

    Nothing in the files is executed: anything but tensors in a dictionary is refused.

    Raises:
        BundleError: ``checkpoint_unreadable``, ``checkpoint_unsafe``, ``checkpoint_unknown`` or
            ``weights_not_finite``, naming the file.
    """
    renamed = [_read_renamed(Path(path)) for path in paths]
    widths = {len(state[_FIRST_WEIGHT]) for state in renamed}
    if not renamed or len(widths) != 1:
        raise BundleError(
            "checkpoint_unknown",
            "The checkpoints are not the phases of one published cascade.",
            "Give one state dict per phase, in order.",
        )
    try:
        chains = tuple(1 + max(int(name.partition(".")[0]) for name in state) for state in renamed)
        architecture = PublishedArchitecture(chains=chains, width=widths.pop())
    except (ValidationError, ValueError) as error:
        raise _unknown(Path(paths[0])) from error
    cascade = PublishedCascade(architecture)
    for path, generator, state in zip(paths, cascade.generators, renamed, strict=True):
        try:
            generator.load_state_dict(state)
        except RuntimeError as error:
            raise _unknown(Path(path)) from error
        refuse_senseless(generator.state_dict(), Path(path).name)
    return cascade.eval()


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        with open_plain(path, follow=True) as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BundleError(
            "checkpoint_unsafe",
            f"{path.name} holds more than tensors and was not opened.",
            "Save its state dict alone, with the program that made it.",
        ) from error
    except Exception as error:  # What torch raises depends on where the damage lies.
        raise BundleError(
            "checkpoint_unreadable", f"{path.name} cannot be read as a PyTorch file.", "Check the path and the file."
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
        for name, value in state.items()
    ):
        raise _unknown(path)
    return state


def _read_renamed(path: Path) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in _read_state(path).items():
        for pattern, replacement in _RENAMING:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    if _FIRST_WEIGHT not in renamed or not renamed[_FIRST_WEIGHT].shape:
        raise _unknown(path)
    return renamed


def _unknown(path: Path) -> BundleError:
    return BundleError(
        "checkpoint_unknown",
        f"{path.name} is not a state dict of a published generator.",
        "Give the generators' files (…_G_A.pth), one per phase, in order.",
    )
