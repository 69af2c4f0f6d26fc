"""Layouts, slice views, the crosshair, colour legends, sequences and charts."""

import numpy as np

LAYOUT = """<layout type="horizontal"><item><view class="vtkMRMLSliceNode" singletontag="ContractExtra">
<property name="orientation" action="default">Coronal</property><property name="viewlabel" action="default">X</property>
<property name="viewcolor" action="default">#5F8AC7</property></view></item>
<item><view class="vtkMRMLPlotViewNode" singletontag="ContractPlot"/></item></layout>"""


def red_widget(host):
    return host.app.layoutManager().sliceWidget("Red")


def plot_widget(host):
    """Return the first plot view's widget, shown."""
    manager = host.app.layoutManager()
    manager.setLayout(host.slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView)
    return manager.plotWidget(0)


def test_the_usual_layout_has_three_slice_views(host):
    manager = host.app.layoutManager()
    assert set(manager.sliceViewNames()) >= {"Red", "Green", "Yellow"}
    orientations = [manager.sliceWidget(name).mrmlSliceNode().GetOrientation() for name in ("Red", "Green", "Yellow")]
    assert orientations == ["Axial", "Coronal", "Sagittal"]


def test_a_layout_of_the_module_brings_its_own_views(host):
    manager = host.app.layoutManager()
    changes = []

    def slot(layout):
        changes.append(layout)

    manager.connect("layoutChanged(int)", slot)
    manager.layoutLogic().GetLayoutNode().AddLayoutDescription(7002, LAYOUT)
    manager.setLayout(7002)
    host.process_events()
    manager.disconnect("layoutChanged(int)", slot)
    assert manager.layout == 7002
    assert changes == [7002]
    extra = manager.sliceWidget("ContractExtra")
    assert extra.mrmlSliceNode().GetOrientation() == "Coronal"
    assert extra.mrmlSliceNode().IsMappedInLayout()
    assert extra.mrmlSliceCompositeNode() is not None
    assert extra.isVisible()
    assert not manager.sliceWidget("Red").isVisible()
    plots = [manager.plotWidget(index).mrmlPlotViewNode() for index in range(manager.plotViewCount)]
    assert "ContractPlot" in [node.GetSingletonTag() for node in plots]


def test_volumes_are_shown_in_all_slice_views_and_fitted(host):
    volume = host.add_volume("head", np.zeros((20, 20, 20), np.float32))
    host.slicer.util.setSliceViewerLayers(background=volume)
    host.slicer.util.resetSliceViews()
    widget = red_widget(host)
    assert widget.mrmlSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()
    assert widget.sliceLogic().GetBackgroundLayer().GetVolumeNode() is volume
    assert 20 <= min(widget.mrmlSliceNode().GetFieldOfView()[:2]) < 40


def test_the_crosshair_says_where_the_cursor_is_and_whether_it_is_in_a_view(host):
    crosshair, node = host.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode"), red_widget(host).mrmlSliceNode()
    events, ras = [], [0.0, 0.0, 0.0]
    event = host.slicer.vtkMRMLCrosshairNode.CursorPositionModifiedEvent
    tag = crosshair.AddObserver(event, lambda caller, name: events.append(name))
    crosshair.SetCursorPositionXYZ((10.0, 20.0, 0.0), node)
    assert len(events) == 1
    assert crosshair.GetCursorPositionRAS(ras)
    assert np.allclose(ras, node.GetXYToRAS().MultiplyPoint((10.0, 20.0, 0.0, 1.0))[:3])
    assert crosshair.GetCursorPositionXYZ([0.0, 0.0, 0.0]) is node
    crosshair.SetCursorPositionInvalid()
    assert not crosshair.GetCursorPositionRAS(ras)
    crosshair.RemoveObserver(tag)


def test_a_legend_is_taken_up_when_it_changes_and_not_when_a_script_changes_the_layers(host):
    volume, composite = host.add_volume("sigma"), red_widget(host).mrmlSliceCompositeNode()
    composite.SetBackgroundVolumeID(None)
    legend = host.slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(volume)
    manager = red_widget(host).sliceView().displayableManagerByClassName("vtkMRMLColorLegendDisplayableManager")

    def is_shown():
        actor = manager.GetColorLegendActor(legend)
        return actor is not None and bool(actor.GetVisibility())

    composite.SetBackgroundVolumeID(volume.GetID())
    assert not is_shown()
    legend.Modified()
    assert is_shown()
    composite.SetBackgroundVolumeID(None)
    assert is_shown()
    legend.SetVisibility(False)
    assert not is_shown()


def test_a_sequence_browser_shows_the_chosen_item(host):
    scene, logic = host.scene, host.slicer.modules.sequences.logic()
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "phases")
    for phase in range(2):
        volume = host.add_volume(f"phase {phase}", np.full((2, 2, 2), phase, np.float32))
        sequence.SetDataNodeAtValue(volume, str(phase))
        scene.RemoveNode(volume)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    logic.UpdateAllProxyNodes()
    proxy = browser.GetProxyNode(sequence)
    for item in (1, 0):
        browser.SetSelectedItemNumber(item)
        assert host.slicer.util.arrayFromVolume(proxy).max() == item


def test_a_plot_view_does_not_tell_its_node_and_its_widget_does(host):
    widget = plot_widget(host)
    assert widget.mrmlPlotViewNode().IsA("vtkMRMLPlotViewNode")
    with host.refuses(AttributeError):
        widget.plotView().mrmlPlotViewNode()
    # So a chart's axes follow its numbers.
    widget.plotView().chart().RecalculateBounds()
    widget.plotView().scene().SetDirty(True)


def test_a_chart_is_drawn_in_its_colours(host):
    slicer, scene = host.slicer, host.scene
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "t")
    slicer.util.updateTableFromArray(table, [np.arange(5.0), np.arange(5.0) ** 2], ["x", "y"])
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "coverage")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("x")
    series.SetYColumnName("y")
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetColor(1, 0, 0)
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "chart")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle("Coverage")
    widget = plot_widget(host)
    widget.mrmlPlotViewNode().SetPlotChartNodeID(chart.GetID())
    host.wait_until(lambda: red_pixels(host.screenshot(widget.plotView())) > 20)


def red_pixels(image):
    """Return how many pixels of a picture are red, of every eighth column."""
    colors = [image.pixel(x, y) for x in range(0, image.width(), 8) for y in range(image.height())]
    return sum((color >> 16 & 255) > 200 and (color >> 8 & 255) < 60 and (color & 255) < 60 for color in colors)
