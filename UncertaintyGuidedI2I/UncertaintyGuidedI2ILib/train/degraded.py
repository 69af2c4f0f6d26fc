"""What the networks will see of a patient: the input that a degradation makes, beside the target it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.text import oneLine

# Pixels, of the longer side: two fit beside each other into a narrow panel.
SIDE = 190


class DegradedPictures:
    """Two pictures of one patient, which go when other data or another degradation are chosen.

    Args:
        ui: Widgets of TrainPanel.ui.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        # What the pictures are of.
        self._of: Any = None
        ui.degradedFrame.visible = False

    def take(self, result: Mapping[str, Any], of: Any) -> None:
        """Show pictures.

        Args:
            result: {"subject", "input", "target"}: the patient's label, and paths of pictures.
            of: What they were asked for with, to be compared with what is chosen later.
        """
        for label, side in ((self._ui.degradedInputLabel, "input"), (self._ui.degradedTargetLabel, "target")):
            picture = qt.QPixmap(str(result[side]))
            label.setPixmap(picture.scaled(SIDE, SIDE, qt.Qt.KeepAspectRatio, qt.Qt.SmoothTransformation))
        text = _("Patient {subject}, middle slice, same grey window: input as the networks will see it | target")
        self._ui.degradedTitle.text = text.format(subject=oneLine(str(result["subject"])))
        self._of = of
        self.show(of)

    def show(self, asked: Any) -> None:
        """Show the pictures if they are of what is chosen now, else hide them."""
        self._ui.degradedFrame.visible = self._of is not None and self._of == asked
