"""What Python sees of Slicer's and CTK's own classes: names of properties, public slots, invokables and signals.

PythonQt shows nothing else of a C++ class, so that methods that its header has as well are an AttributeError there. The
names are those of the headers of Slicer's and CTK's main branches (July 2026), of the classes for which the host stands
in; they need not be complete: what is missing here the host must not offer.
"""

from __future__ import annotations

VIEW = {"scheduleRender", "forceRender", "renderWindow", "interactor", "interactorStyle", "cornerAnnotation"}
WIDGET = {"mrmlScene", "setMRMLScene", "mrmlSceneChanged"}
OBJECT = {"connect", "disconnect"}

OFFERED: dict[str, set[str]] = {
    "ctkCollapsibleButton": {"collapsed", "collapsedHeight", "flat", "contentsCollapsed"},
    "ctkCollapsibleGroupBox": {"collapsed", "collapsedHeight"},
    "ctkPathLineEdit": {
        *("label", "filters", "currentPath", "options", "settingKey", "showBrowseButton", "showHistoryButton"),
        *("sizeAdjustPolicy", "minimumContentsLength", "nameFilters", "validInputChanged", "currentPathChanged"),
        *("setCurrentPath", "browse", "retrieveHistory", "addCurrentPathToHistory"),
        *("Dirs", "Files", "Readable", "Writable", "Executable"),
    },
    "ctkSliderWidget": {
        *("decimals", "singleStep", "pageStep", "minimum", "maximum", "value", "prefix", "suffix", "tickInterval"),
        *("tickPosition", "spinBoxAlignment", "tracking", "spinBoxVisible", "popupSlider"),
        *(
            "reset",
            "setValue",
            "setSpinBoxVisible",
            "setDecimals",
            "valueChanged",
            "valueIsChanging",
            "decimalsChanged",
        ),
    },
    "qMRMLNodeComboBox": {
        *("currentNodeID", "nodeTypes", "showHidden", "showChildNodeTypes", "hideChildNodeTypes", "baseName"),
        *("noneEnabled", "addEnabled", "removeEnabled", "editEnabled", "renameEnabled", "selectNodeUponCreation"),
        *("noneDisplay", "sizeAdjustPolicy", "mrmlScene", "setMRMLScene", "addAttribute", "removeAttribute"),
        *("nodeCount", "nodeFromIndex", "currentNode", "setCurrentNode", "setCurrentNodeID", "setCurrentNodeIndex"),
        *("addNode", "removeCurrentNode", "editCurrentNode", "renameCurrentNode", "sortFilterProxyModel"),
        *("currentNodeChanged", "currentNodeIDChanged", "nodeActivated", "nodeAdded", "nodeAddedByUser"),
        *("nodeAboutToBeRemoved", "currentNodeRenamed", "nodeAboutToBeEdited"),
    },
    "qMRMLPlotView": {
        *("setMRMLScene", "setMRMLPlotViewNode", "fitToContent", "RemovePlotSelections", "saveAsSVG"),
        *("mrmlSceneChanged", "dataSelected", "addPlot", "removePlot", "plotIndex", "chart", "scene", "title"),
        *("removeAllPlots", "setAxesToChartBounds", "boundAxesToChartBounds", "boundsChanged"),
    },
    "qMRMLPlotWidget": {
        *(*WIDGET, "mrmlPlotViewNode", "mrmlAbstractViewNode", "plotView", "viewWidget", "plotController"),
        *("controllerWidget", "setMRMLPlotViewNode", "setMRMLAbstractViewNode"),
    },
    "qMRMLSliceControllerWidget": {
        *(*WIDGET, "mrmlSliceNode", "mrmlSliceCompositeNode", "sliceLogic", "setSliceLogic", "setSliceLogics"),
        *("setSliceOffsetRange", "setSliceOffsetValue", "fitSliceToBackground", "sliceOffsetSlider", "setSliceLink"),
    },
    "qMRMLSliceView": {
        *(*VIEW, "mrmlSliceNode", "setMRMLScene", "setMRMLSliceNode", "sliceViewInteractorStyle"),
        "displayableManagerByClassName",
    },
    "qMRMLSliceWidget": {
        *(*WIDGET, "sliceController", "mrmlSliceNode", "sliceLogic", "sliceOrientation", "mrmlSliceCompositeNode"),
        *("interactorStyle", "sliceView", "setMRMLSliceNode", "setSliceOrientation", "fitSliceToBackground"),
    },
    "qMRMLWidget": WIDGET,
    # What tests ask it, and nothing that the product could call.
    "ProgressBar": {"draw_s", "draws"},
    # qSlicerLayoutManager, qSlicerApplication, qSlicerModuleManager and the parent of a module's panel.
    "LayoutManager": {
        *("enabled", "layout", "threeDViewCount", "tableViewCount", "plotViewCount", "mrmlScene", "viewWidget"),
        *("sliceWidget", "sliceViewNames", "threeDWidget", "tableWidget", "plotWidget", "mrmlSliceLogics"),
        *("layoutLogic", "setLayout", "resetThreeDViews", "resetSliceViews", "layoutChanged"),
    },
    "Application": {
        *(*OBJECT, "applicationName", "majorVersion", "minorVersion", "revision", "temporaryPath"),
        *("slicerUserSettingsFilePath", "processEvents", "layoutManager", "applicationLogic", "moduleManager"),
        *("mrmlScene", "settings", "userSettings", "commandOptions", "testingEnabled", "setOverrideCursor"),
        *("restoreOverrideCursor", "pauseRender", "resumeRender", "clipboard"),
    },
    "ModuleManager": {*OBJECT, "factoryManager", "modulesNames", "module"},
    "ModulePanel": {*WIDGET, "isEntered", "self"},
}


def inventions(cls: type) -> set[str]:
    """Return the public names that a class of the host has, and neither Qt's class nor Slicer's."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("Host.")]
    qts = [base for base in cls.__mro__ if base.__module__.startswith(("PySide6", "Shiboken"))]
    names = {name for base in own for name in vars(base) if not name.startswith("_")}
    known = {name for base in qts for name in vars(base)} | OFFERED[cls.__name__] | {"SIGNALS", "IS_CPP"}
    # What PySide6 adds to a class that declares signals, and what the host itself or a test asks of a view.
    return names - known - {"staticMetaObject", "release", "legends"}
