"""An engine without a network: it gives its input back as image, with a Gaussian error as large as the image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from upgan.images.volume import Volume
from upgan.inference.engine import SlicesDone
from upgan.inference.translation import QUANTITIES, Output, PhaseMaps, Translation
from upgan.tasks import PET_TO_CT, Task

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.logic import Engine, Model

PHASES = 3


@dataclass
class FakeBundle:
    name: str
    task: Task = PET_TO_CT
    sha256: str = "c0ffee"

    @property
    def metadata(self) -> Any:
        return SimpleNamespace(name=self.name)


class BrokenTranslation(Translation):
    """Fails at sigma, as when the memory runs out half-way."""

    def outputs(self, quantities: Iterable[Any] = QUANTITIES) -> Iterator[Output]:
        for output in super().outputs(quantities):
            if output.quantity == "sigma":
                raise MemoryError("the fake ran out of memory")
            yield output


@dataclass
class FakeEngine:
    bundle: FakeBundle
    device: str = "auto"
    precision: str = "auto"
    batch: int | None = None
    translation: type[Translation] = Translation
    asked: list[dict[str, Any]] = field(default_factory=list)

    def translate(
        self,
        volume: Volume,
        *,
        plane: str | None = None,
        phases: str = "last",
        progress: Callable[[SlicesDone], None] | None = None,
        replace_nonfinite: float | None = None,
        source: str = "",
        epistemic: bool = False,
    ) -> Translation:
        self.asked.append({"plane": plane, "phases": phases, "source": source, "modality": volume.modality})
        self.asked[-1]["replace_nonfinite"] = replace_nonfinite
        for done in range(1, 5):
            if progress is not None:
                progress(SlicesDone(PHASES, PHASES, done, 4, 1.0, done / 4))
        task = self.bundle.task
        reference = task.measure(volume.voxels).reference
        provenance: dict[str, Any] = {
            "bundle": self.bundle.name,
            "bundle_sha256": self.bundle.sha256,
            "plane": plane or "axial",
            "source": source,
            "warnings": ["beware: of ; and : and 100 %"],
            "created": "2026-01-01T00:00:00Z",
        }
        # sigma of a Gaussian is alpha / sqrt(2).
        maps = PhaseMaps(volume.voxels, volume.voxels * np.float32(np.sqrt(2)), np.full_like(volume.voxels, 2))
        kept = range(1, PHASES + 1) if phases == "all" else [PHASES]
        disagreement = volume.voxels / np.float32(4) if epistemic else None
        return self.translation(
            dict.fromkeys(kept, maps), volume.ijk_to_ras, task, reference, provenance, epistemic=disagreement
        )


if TYPE_CHECKING:

    def _stand_in(bundle: FakeBundle, engine: FakeEngine) -> tuple[Model, Engine]:
        return bundle, engine
