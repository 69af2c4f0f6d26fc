"""The panel that inspects: overlays, phases, values at the cursor, uncertain regions, statistics and slices."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from UncertaintyGuidedI2ILib.inspection import comparison as comparison_layout
from UncertaintyGuidedI2ILib.inspection.figures import FigureSections
from UncertaintyGuidedI2ILib.inspection.limits import adaptLimits, fitRanges
from UncertaintyGuidedI2ILib.inspection.overlay_session import OverlaySession
from UncertaintyGuidedI2ILib.inspection.overlays import Overlay, rememberLayers
from UncertaintyGuidedI2ILib.inspection.readout_section import ReadoutSection
from UncertaintyGuidedI2ILib.inspection.text import missingText, noResultText, say, unitText, verdictText, withheldText
from UncertaintyGuidedI2ILib.parameters import ANATOMIES, OVERLAYS, RELATIONS, Binding
from UncertaintyGuidedI2ILib.scene.display import sliceComposites
from UncertaintyGuidedI2ILib.scene.familiarity import Familiarity
from UncertaintyGuidedI2ILib.scene.nodes import provenanceOf
from UncertaintyGuidedI2ILib.scene.phases import browserOf, phaseNodes, selectPhase
from UncertaintyGuidedI2ILib.scene.results import EPISTEMIC, QUANTITIES, QUANTITY, Result, resultOf, results
from UncertaintyGuidedI2ILib.scene.watch import NodeWatch
from UncertaintyGuidedI2ILib.widgets import enable
from UncertaintyGuidedI2ILib.work.upkeep import Upkeep

OVERLAY_QUANTITIES = dict(
    zip(OVERLAYS, ("sigma", EPISTEMIC, "alpha", "beta", "image", "interval_width", "probability"), strict=True)
)


class InspectPanel(VTKObservationMixin):
    """Shows a result's maps and what follows from them; changes views only where the user asks for it.

    Every event only asks for a refresh, which comes when all of them are over: a phase changes four volumes, and what
    is seen must belong together.

    Args:
        ui: Widgets of InspectPanel.ui.
    """

    def __init__(self, ui: Any) -> None:
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self._binding = Binding(ui, "inspect", self._onChoicesChanged)
        self._choices = self._binding.choices
        self._upkeep = Upkeep()
        self._session = OverlaySession(self._refreshSoon)
        self._watch = NodeWatch(self._refreshSoon)
        self._comparisonAsked = False
        self._compared: tuple[Any, ...] = ()
        # From where the comparison was opened, until its views have their size.
        self._opened: comparison_layout.Opened | None = None
        # Whether the views need not be fitted to the overlay that comes.
        self._isFitted = True
        self._isAdapting = False
        self._refreshTimer = qt.QTimer()
        self._refreshTimer.setSingleShot(True)
        self._refreshTimer.interval = 0
        self._refreshTimer.timeout.connect(self._refresh)
        self._readout = ReadoutSection(ui, self._asked)
        self._figures = FigureSections(ui, self._result, self._choices, self._refreshSoon)
        self._setUp()

    def setParameterNode(self, parameterNode: Any) -> None:
        """Bind the panel to these choices and to no others."""
        self._binding.bind(parameterNode)
        if parameterNode is None:
            self._session.stop()
            self._refresh()
            return
        comparison_layout.registerLayout(slicer.mrmlScene)
        self._readout.observe()
        self._refresh()

    def showResult(self, imageNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Select a new result; the views stay as they are, also where another result's map lies on them."""
        choices = self._choices()
        if choices is None:
            return
        # The list of results was made when the node did not yet say that it is one.
        self._listResults()
        if choices.showOverlay:
            self._session.forget()
            choices.layersBefore = ""
            choices.showOverlay = False
        choices.result = imageNode

    def showUncertainty(self, imageNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Lay sigma over a translated image because the user asks for it in another panel.

        It is this panel's overlay like any other: with its legend, and to be taken off here.
        """
        choices = self._choices()
        if choices is None:
            return
        self._listResults()
        self._isFitted = False
        for name, value in (
            ("result", imageNode),
            ("overlay", OVERLAYS[0]),
            ("anatomy", ANATOMIES[1]),
            ("showOverlay", True),
        ):
            setattr(choices, name, value)
        self._refresh()

    def onSceneStartClose(self) -> None:
        """Let go of volumes that are about to go."""
        self._session.forget()
        self._comparisonAsked, self._compared, self._opened = False, (), None
        self._isFitted = True
        self._readout.forget()
        self._figures.forget()

    def onSceneEndClose(self) -> None:
        """Nothing is left to do: the choices come anew with the next parameter node."""

    def cleanup(self) -> None:
        """Let go of everything."""
        self._session.forget()
        self._figures.forget()
        self.setParameterNode(None)
        self._refreshTimer.stop()
        self._readout.stop()
        self._watch.follow()
        self.removeObservers()

    def onCompare(self, checked: bool = False) -> None:
        """Show the comparison, or go back to the layout before it."""
        choices = self._choices()
        if choices is None:
            return
        if comparison_layout.isComparisonShown(slicer.mrmlScene):
            comparison_layout.leaveComparison(slicer.mrmlScene, choices.layoutBefore)
        else:
            self._comparisonAsked = True
        self._refreshSoon()

    def onPhase(self, value: float) -> None:
        """Show another phase in the result's volumes."""
        result = self._result()
        if result is not None and round(value) != result.phase:
            selectPhase(result, round(value))
            self._refreshSoon()

    def _setUp(self) -> None:
        ui = self.ui
        self._listResults()
        ui.comparisonButton.connect("clicked(bool)", self.onCompare)
        ui.phaseSlider.connect("valueChanged(double)", self.onPhase)
        scene = slicer.mrmlScene
        for event in (
            scene.NodeRemovedEvent,
            scene.NodeAddedEvent,
            scene.EndImportEvent,
            scene.EndBatchProcessEvent,
            scene.EndCloseEvent,
        ):
            self.addObserver(scene, event, self._refreshSoon)
        self._refresh()

    def _result(self) -> Result | None:
        choices = self._choices()
        return resultOf(choices.result) if choices is not None else None

    def _overlay(self, quantity: str | None = None) -> Overlay:
        choices = self._choices()
        return Overlay(
            quantity or OVERLAY_QUANTITIES[choices.overlay],
            level=choices.level / 100,
            threshold=choices.threshold,
            above=choices.relation == RELATIONS[0],
        )

    def _asked(self) -> tuple[Result, Overlay] | None:
        """Return what is read at the cursor, and of which result."""
        result = self._result()
        return (result, self._overlay("probability")) if result is not None else None

    def _onChoicesChanged(self, caller: Any = None, event: Any = None) -> None:
        """Follow choices at once where others depend on them: what a script writes next must stay."""
        scene = slicer.mrmlScene
        if not (self._isAdapting or scene.IsClosing() or scene.IsBatchProcessing()):
            self._adapt(self._result())
        self._refreshSoon()

    def _adapt(self, result: Result | None) -> None:
        """Let limits of intensities, and the sliders that show them, be those of this result."""
        choices = self._choices()
        if choices is None or result is None:
            return
        self._isAdapting = True
        try:
            adaptLimits(self.ui, choices, result)
        finally:
            self._isAdapting = False

    def _refreshSoon(self, caller: Any = None, event: Any = None) -> None:
        self._refreshTimer.start()

    def _refresh(self) -> None:
        """Bring everything up to date with the scene and the choices."""
        if slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsBatchProcessing():
            # The scene's own end events ask again.
            return
        choices = self._choices()
        if choices is not None and choices.result is None:
            self._selectNewest()
        result = self._result()
        self._upkeep.run(
            {
                _("the result"): lambda: self._observe(result),
                _("the limits"): lambda: self._adapt(result),
                _("the figures"): lambda: self._figures.follow(result),
                _("the overlay"): lambda: self._showOverlay(result),
                _("the comparison"): lambda: self._showComparison(result),
                _("the legends"): lambda: self._explain(result),
                _("the phase"): lambda: self._showPhase(result),
                _("the values at the cursor"): self._readout.show,
                _("the buttons"): lambda: self._showState(result),
            }
        )

    def _selectNewest(self) -> None:
        images = [result.nodes["image"] for result in results(slicer.mrmlScene) if "image" in result.nodes]
        if images:
            self._listResults()
            self._choices().result = images[-1]

    def _listResults(self) -> None:
        """Look again which volumes are results: they say so only after they have come into the scene."""
        self.ui.resultSelector.addAttribute("vtkMRMLScalarVolumeNode", QUANTITY, "image")

    def _observe(self, result: Result | None) -> None:
        """Follow what is changed elsewhere: a result's nodes, its phases' browser, the layout and the views' layers."""
        layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        ofResult = [*result.nodes.values(), browserOf(result)] if result is not None else []
        self._watch.follow(layout, *sliceComposites(slicer.mrmlScene), *ofResult)

    def _showOverlay(self, result: Result | None) -> None:
        choices = self._choices()
        if choices is None:
            return
        overlay = self._overlay()
        if choices.showOverlay and (
            result is None or _whyNotShown(result, overlay) or self._session.isDeleted(result, overlay)
        ):
            choices.showOverlay = False
        elif choices.showOverlay and self._session.isReplaced(slicer.mrmlScene):
            # Another panel, a script or the user shows something else in all views: it stays.
            self._session.letGo(slicer.mrmlScene)
            choices.layersBefore = ""
            choices.showOverlay = False
        wanted = self._wanted(result)
        if result is None:
            self._session.stop()
        else:
            self._session.want(result, wanted)
        if choices.showOverlay and result is not None:
            if not choices.layersBefore:
                choices.layersBefore = rememberLayers(slicer.mrmlScene)
            views = None if self._isFitted else slicer.app.applicationLogic()
            if self._session.show(result, overlay, self._anatomy(result), choices.opacity, views):
                self._isFitted = True
        elif choices.layersBefore:
            self._session.takeOff(slicer.mrmlScene, choices.layersBefore)
            choices.layersBefore = ""

    def _wanted(self, result: Result | None) -> list[Overlay]:
        """Return the maps that are to be seen, in the user's views and in the comparison."""
        if result is None:
            return []
        wanted = [self._overlay()] if self._choices().showOverlay else []
        if self._comparisonAsked or comparison_layout.isComparisonShown(slicer.mrmlScene):
            wanted += [self._overlay("sigma"), self._overlay("probability")]
        return [overlay for overlay in wanted if not _whyNotShown(result, overlay)]

    def _anatomy(self, result: Result) -> slicer.vtkMRMLScalarVolumeNode:
        image = result.nodes["image"] if "image" in result.nodes else next(iter(result.nodes.values()))
        return (result.inputNode or image) if self._choices().anatomy == ANATOMIES[0] else image

    def _showComparison(self, result: Result | None) -> None:
        scene, choices = slicer.mrmlScene, self._choices()
        shown = comparison_layout.isComparisonShown(scene)
        if choices is None or result is None or not (shown or self._comparisonAsked):
            self._compared, self._opened = (), None
            return
        probability = self._overlay("probability")
        if self._session.isWorking:
            return
        others = (("input", result.inputNode), ("probability", self._session.volume(result, probability)))
        volumes = {**result.nodes, **{key: node for key, node in others if node is not None}}
        labels = {
            "input": result.inputNode.GetName() if result.inputNode else _("Input"),
            "image": Overlay("image").title(result),
            "sigma": Overlay("sigma").title(result),
            "probability": probability.title(result),
        }
        if self._comparisonAsked:
            self._comparisonAsked = False
            self._opened = comparison_layout.showComparison(volumes, labels, slicer.app.applicationLogic())
            if self._opened.layout != comparison_layout.LAYOUT_ID:
                choices.layoutBefore = self._opened.layout
        elif self._opened is not None:
            comparison_layout.placeComparison(self._opened.point, slicer.app.applicationLogic())
            self._opened = None
        compared = (
            tuple(volumes[key].GetID() for key in comparison_layout.VIEWS if key in volumes),
            tuple(labels.values()),
        )
        if compared != self._compared:
            self._compared = compared
            comparison_layout.fillComparison(scene, volumes, labels)

    def _explain(self, result: Result | None) -> None:
        """Give each map that is seen its legend: Slicer takes up only those of volumes that are shown already."""
        choices = self._choices()
        if choices is not None and result is not None:
            self._session.explain(result, self._wanted(result) if choices.legend else [])

    def _showPhase(self, result: Result | None) -> None:
        slider, phases = self.ui.phaseSlider, sorted(phaseNodes(result)) if result else []
        blocked = slider.blockSignals(True)
        slider.maximum = max(phases, default=1)
        slider.minimum = min(phases, default=1)
        slider.value = result.phase if result else 1
        slider.blockSignals(blocked)
        why = (
            ""
            if len(phases) > 1
            else _(
                "There is one phase only. Keep all phases when you translate; models that join must have equally many."
            )
        )
        enable(
            slider,
            why if result else noResultText(),
            _("Show another phase of the cascade in all maps of this result."),
        )

    def _showState(self, result: Result | None) -> None:
        """Enable what makes sense now, and let what does not say why."""
        ui = self.ui
        ui.resultInfoLabel.text = _describe(result)
        say(ui.familiarityLabel, verdictText(Familiarity.of(next(iter(result.nodes.values())))) if result else "")
        noResult = "" if result else noResultText()
        noSigma = noResult or missingText(["sigma"] if result and "sigma" not in result.nodes else [])
        overlay = self._overlay() if result else None
        whyNot = _whyNotShown(result, overlay) if result and overlay else ""
        note = _noteOn(result, overlay) if result and overlay else ""
        enable(
            ui.showOverlayCheckBox,
            noResult or whyNot,
            _("Lay the map over the anatomy in all slice views. Switched off, they show what they showed before."),
        )
        say(ui.overlayInfoLabel, _("Computing the map...") if self._session.isWorking else whyNot or note)
        noLayout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode") is None
        shown = comparison_layout.isComparisonShown(slicer.mrmlScene)
        ui.comparisonButton.text = _("Back to the layout before") if shown else _("Compare side by side")
        enable(
            ui.comparisonButton,
            "" if shown else noResult or (_("There are no views here.") if noLayout else ""),
            _("Show input, translated image, sigma and probability in four linked views; click again to go back."),
        )
        self._figures.showState(noSigma)
        fitRanges(ui, result)


def _whyNotShown(result: Result, overlay: Overlay) -> str:
    """Return why a map cannot be seen, or nothing."""
    return missingText(overlay.missingIn(result)) or (withheldText() if overlay.isWithheldIn(result) else "")


def _noteOn(result: Result, overlay: Overlay) -> str:
    """Return what has to be known of a map that can be seen, or nothing."""
    isOfAnother = overlay.quantity == EPISTEMIC and result.epistemicNode is None
    return _("The epistemic map is that of the last phase.") if isOfAnother else ""


def _describe(result: Result | None) -> str:
    if result is None:
        return noResultText()
    provenance = provenanceOf(next(iter(result.nodes.values())))
    # One model, or the members of several that were taken as one.
    stated = provenance.get("members")
    members = [each for each in stated if isinstance(each, dict)] if isinstance(stated, list) else []
    versions = (
        " ".join(str(member[key]) for key in ("bundle", "bundle_version") if member.get(key))
        for member in members or [provenance]
    )
    model = " + ".join(filter(None, versions))
    text = _("From {input} by {model}.").format(
        input=result.inputNode.GetName() if result.inputNode else _("a volume that is not in the scene any more"),
        model=model or _("an unknown model"),
    )
    missing = missingText([quantity for quantity in QUANTITIES if quantity not in result.nodes])
    return " ".join(filter(None, [text, unitText(result), missing]))
