"""The choices that are saved with the scene; imported only inside the Slicer application."""

from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper

from UncertaintyGuidedI2ILib.logic import DEFAULT_MODEL

DEVICES = ["auto", "cpu", "cuda"]


@parameterNodeWrapper
class UncertaintyGuidedI2IParameterNode:
    """What the user chose to run.

    Attributes:
        inputVolume: The volume to translate.
        model: Name of a bundled model; its selector is filled by what is installed, so it is no fixed choice.
        device: Where to run; the first one lets the engine choose.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    model: str = DEFAULT_MODEL
    device: Annotated[str, Choice(DEVICES)] = DEVICES[0]
