"""From sizes to networks, said once: which class an architecture is, and what is alike in all of them."""

from __future__ import annotations

from upgan.networks.architecture import Architecture, PublishedArchitecture
from upgan.networks.cascade import Cascade
from upgan.networks.published import PublishedCascade

# Both yield one ``GeneralizedNormal`` a phase, by ``phases``, know their ``architecture``, and run a later phase
# alone from what it was ``handed_on``.
Network = Cascade | PublishedCascade


def build(architecture: Architecture) -> Network:
    """Build untrained networks of an architecture, in training mode, on the device that ``torch.device`` has set."""
    if isinstance(architecture, PublishedArchitecture):
        return PublishedCascade(architecture)
    return Cascade(architecture)
