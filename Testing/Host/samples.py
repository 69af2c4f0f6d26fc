"""The module ``SampleData``, for samples that are files of this machine."""

# Slicer's own names.
# ruff: noqa: N802, N803

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlparse

import slicer


def sample_data_module() -> ModuleType:
    """Return ``SampleData`` without any source."""
    module = ModuleType("SampleData")

    class SampleDataLogic:
        """Registers sources and loads their files."""

        sources: list[dict[str, Any]] = []  # noqa: RUF012 - the application has one list

        @staticmethod
        def registerCustomSampleDataSource(category: str = "Custom", **source: Any) -> None:
            SampleDataLogic.sources.append(source)
            if not hasattr(slicer.modules, "sampleDataSources"):
                slicer.modules.sampleDataSources = {}
            slicer.modules.sampleDataSources.setdefault(category, []).append(SimpleNamespace(**source))

        def downloadSample(self, sampleName: str) -> Any:
            nodes = self.downloadSamples(sampleName)
            return nodes[0] if nodes else None

        def downloadSamples(self, sampleName: str) -> list[Any]:
            for source in self.sources:
                if sampleName == source["sampleName"]:
                    uris, names = source["uris"], source.get("nodeNames")
                    uris = [uris] if isinstance(uris, str) else uris
                    names = [names] * len(uris) if isinstance(names, str) or names is None else names
                    return [self._load(uri, name) for uri, name in zip(uris, names, strict=True)]
            raise KeyError(sampleName)

        def _load(self, uri: str, name: str | None) -> Any:
            return slicer.util.loadVolume(unquote(urlparse(uri).path), {"name": name} if name else {})

    module.SampleDataLogic = SampleDataLogic
    return module
