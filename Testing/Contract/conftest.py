"""The claims in the test host, which stands in for Slicer."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def host(started_host: Any) -> Iterator[Any]:
    """The application that claims are stated in; the same as in a real Slicer."""
    from Contract.slicer_host import SlicerHost

    started_host.install()
    try:
        with SlicerHost() as slicer_host:
            yield slicer_host
        assert started_host.uncaught == []
    finally:
        started_host.reset()
        started_host.uninstall()
