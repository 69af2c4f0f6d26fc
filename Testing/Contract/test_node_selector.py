"""qMRMLNodeComboBox: which nodes it shows, which is chosen, and whom it tells."""


def selector_of(host):
    selector = host.slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(host.scene)
    return selector


def test_the_selector_takes_the_first_node_unless_none_is_a_choice(host):
    selector, optional = selector_of(host), host.slicer.qMRMLNodeComboBox()
    optional.nodeTypes, optional.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    optional.setMRMLScene(host.scene)
    volume = host.add_volume()
    assert selector.currentNode() is volume
    assert selector.currentNodeID == volume.GetID()
    assert optional.currentNode() is None


def test_the_selector_says_what_was_chosen(host):
    selector, first, second = selector_of(host), host.add_volume("a"), host.add_volume("b")
    nodes, valid = [], []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: nodes.append(node))
    selector.connect("currentNodeChanged(bool)", lambda is_valid: valid.append(is_valid))
    selector.setCurrentNode(second)
    selector.setCurrentNode(None)
    assert nodes == [second, None]
    assert valid == [True, False]
    selector.setCurrentNodeID(first.GetID())
    assert selector.currentNode() is first


def test_the_selector_follows_removal_and_closing(host):
    selector, first, second = selector_of(host), host.add_volume("a"), host.add_volume("b")
    selector.setCurrentNode(second)
    host.scene.RemoveNode(second)
    assert selector.currentNode() is first
    host.close_scene()
    assert selector.currentNode() is None
    assert selector.nodeCount() == 0


def test_a_deleted_selector_is_not_called_any_more(host):
    selector, nodes = selector_of(host), []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: nodes.append(node))
    selector.delete()
    host.add_volume()
    host.close_scene()
    assert nodes == []
    assert host.uncaught == []


def test_the_selector_shows_only_the_types_and_attributes_asked_for(host):
    selector, plain, marked = selector_of(host), host.add_volume("plain"), host.add_volume("marked")
    label = host.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "label")
    hidden = host.add_volume("hidden")
    hidden.SetHideFromEditors(True)
    marked.SetAttribute("UncertaintyGuidedI2I.Quantity", "image")
    selector.setMRMLScene(None)
    selector.setMRMLScene(host.scene)
    assert [selector.nodeFromIndex(i) for i in range(selector.nodeCount())] == [plain, marked, label]
    selector.showChildNodeTypes = False
    assert selector.nodeCount() == 2
    selector.addAttribute("vtkMRMLScalarVolumeNode", "UncertaintyGuidedI2I.Quantity", "image")
    assert [selector.nodeFromIndex(i) for i in range(selector.nodeCount())] == [marked]


def test_the_selector_never_shows_a_node_that_is_added_hidden(host):
    selector, nodes = selector_of(host), []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: nodes.append(node))
    hidden = host.slicer.vtkMRMLScalarVolumeNode()
    hidden.SetHideFromEditors(True)
    host.scene.AddNode(hidden)
    assert nodes == []


def test_the_selector_shows_a_node_as_soon_as_it_gets_the_attribute(host):
    selector = selector_of(host)
    selector.addAttribute("vtkMRMLScalarVolumeNode", "UncertaintyGuidedI2I.Quantity")
    volume = host.add_volume()
    assert selector.currentNode() is None
    volume.SetAttribute("UncertaintyGuidedI2I.Quantity", "sigma")
    assert selector.currentNode() is volume
    volume.RemoveAttribute("UncertaintyGuidedI2I.Quantity")
    assert selector.currentNode() is None
