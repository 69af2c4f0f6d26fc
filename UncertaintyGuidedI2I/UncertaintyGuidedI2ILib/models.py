"""Which models there are, and what they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from UncertaintyGuidedI2ILib.text import oneLine

if TYPE_CHECKING:
    from upgan.bundles.library import InstalledModel

DEFAULT_MODEL = "pet-ct-phantom"


def installedModels() -> list[InstalledModel]:
    """Return the models for a selector: bundled, trained, imported; those that cannot be used come last."""
    from upgan.bundles.library import installed_models

    return sorted(installed_models(), key=lambda model: model.problem != "")


def modelLabel(model: InstalledModel, remark: str = "") -> str:
    """Return one line for a selector: "pet-ct-phantom (bundled)"; with a remark "pet-ct-phantom (for PET)"."""
    # Scripts that ask for no label need no translations.
    from slicer.i18n import tr as _

    origins = {"bundled": _("bundled"), "trained": _("trained here"), "imported": _("imported")}
    # A selector has room for one of the two.
    remarks = [remark or origins[model.origin], *([_("cannot be used")] if model.problem else [])]
    return _("{name} ({remarks})").format(name=oneLine(model.name), remarks=", ".join(remarks))
