"""A bundle and a device make a translation, within the memory there is, and save it whole."""

from typing import TYPE_CHECKING

from upgan.names import offered

if TYPE_CHECKING:
    from upgan.inference.engine import InferenceEngine as InferenceEngine

# Scripts know it by this address since the first version.
__getattr__ = offered(__name__, {"InferenceEngine": "upgan.inference.engine"})
