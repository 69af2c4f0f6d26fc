"""Medical image translation that knows where it may be wrong: images in, images with their uncertainty out.

A PET or MRI volume goes slice by slice through a cascade of generators and comes back on its own grid
as a translated volume (a pseudo-CT in HU, say) with a generalised normal distribution in every voxel:
alpha is its scale in the image's unit, beta its shape, sigma its standard deviation. The method is
"Uncertainty-Guided Progressive GANs for Medical Image Translation" (Upadhyay et al., MICCAI 2021).
This is the engine; it knows nothing of 3D Slicer or Qt.

The journey, in five lines::

    from upgan import InferenceEngine, find_bundle, read_volume

    engine = InferenceEngine(find_bundle("pet-ct-phantom"))
    translation = engine.translate(read_volume("pet.nii.gz"))
    translation.last.image, translation.last.sigma  # float32 [K, J, I], HU

The names that are needed first are offered here, and imported when they are asked for. The help of
each has an example.

    read_volume, write_volume, Volume             images from files, to files, and in between
    installed_models, find_bundle                 the models at hand; open one of them
    InferenceEngine, Translation                  a model on a device; what it makes of a volume
    Ensemble                                      several models of one task as one
    OutputFolder, save_translation, read_result   results on disk, whole or not at all
    GeneralizedNormal                             the distribution, for torch
    evaluate                                      a model on pairs with a reference
    train                                         a model of your own pairs
    UpganError                                    what all refusals are: code, sentence, remedy

The rooms, from the ground up; each imports from rooms above it in this list only.

    stepwise     Long numerics in slices of time, so that a viewer can live meanwhile.
    images       Voxels and where they lie in the patient: read, written, resampled, and where in them
                 the patient is.
    uncertainty  The distribution that is predicted in every voxel, what follows from it, and whether
                 it is true.
    networks     The networks and what holds for any of them: modules, their description, their weights
                 and their grid.
    simulation   Made-up acquisitions: NAC-PET and CT of heads that were never scanned, and MR images
                 made worse.
    bundles      Models on disk: what a bundle must be, the library of installed ones, and how others
                 come in.
    pairs        Images that belong together: found, checked, aligned, and parted into training,
                 validation and test.
    inference    A bundle and a device make a translation, within the memory there is, and save it
                 whole.
    evaluation   A model's images against references: figures, curves and error maps, of one image or
                 of many.
    training     From pairs of images to a model: what a run is to be, what it does, what it writes
                 down, what it leaves.
    worker       The process that a viewer talks to; Documentation/Worker.md is the protocol.
    cli          The command line:
                 ``upgan translate | train | evaluate | simulate | bundle | info | worker``.

``upgan.tasks`` between them says what a translation is. The documentation is README.md and
Documentation/ of the repository: Method.md has the formulas and what was measured, Bundles.md and
Training.md what models are and how they are made, Architecture.md a datum's way through the rooms.
"""

import sys
from typing import TYPE_CHECKING

from upgan.names import FormerModules, offered

if TYPE_CHECKING:
    from upgan.bundles.library import find_bundle as find_bundle
    from upgan.bundles.library import installed_models as installed_models
    from upgan.errors import UpganError as UpganError
    from upgan.evaluation.report import evaluate as evaluate
    from upgan.images.reading import read_volume as read_volume
    from upgan.images.volume import Volume as Volume
    from upgan.images.writing import write_volume as write_volume
    from upgan.inference.engine import InferenceEngine as InferenceEngine
    from upgan.inference.ensemble import Ensemble as Ensemble
    from upgan.inference.saving import OutputFolder as OutputFolder
    from upgan.inference.saving import read_result as read_result
    from upgan.inference.saving import save_translation as save_translation
    from upgan.inference.translation import Translation as Translation
    from upgan.training.run.trainer import train as train
    from upgan.uncertainty.distribution import GeneralizedNormal as GeneralizedNormal

__version__ = "0.1.0"

_HOMES = {
    "Ensemble": "upgan.inference.ensemble",
    "GeneralizedNormal": "upgan.uncertainty.distribution",
    "InferenceEngine": "upgan.inference.engine",
    "OutputFolder": "upgan.inference.saving",
    "Translation": "upgan.inference.translation",
    "UpganError": "upgan.errors",
    "Volume": "upgan.images.volume",
    "evaluate": "upgan.evaluation.report",
    "find_bundle": "upgan.bundles.library",
    "installed_models": "upgan.bundles.library",
    "read_result": "upgan.inference.saving",
    "read_volume": "upgan.images.reading",
    "save_translation": "upgan.inference.saving",
    "train": "upgan.training.run.trainer",
    "write_volume": "upgan.images.writing",
}

__all__ = list(_HOMES)
__getattr__ = offered(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


if FormerModules not in sys.meta_path:
    sys.meta_path.append(FormerModules)
