"""When Slicer calls which method of a module's widget, and where it finds the module's files."""

import pathlib

from Contract.slicer_host import EXAMPLE


def test_a_module_is_set_up_once_and_then_entered(host):
    example = host.example()
    assert example.calls[:2] == ["setup", "enter"]
    assert example.calls.count("setup") == 1
    assert host.slicer.modules.ContractExampleWidget is example
    assert example.parent.isEntered
    assert pathlib.Path(host.slicer.util.modulePath("ContractExample")) == EXAMPLE


def test_leaving_a_module_calls_exit_and_coming_back_enter(host):
    example = host.example()
    host.slicer.util.selectModule("Data")
    assert not example.parent.isEntered
    host.slicer.util.selectModule("ContractExample")
    assert example.calls[-2:] == ["exit", "enter"]


def test_closing_the_scene_tells_the_module_and_gives_it_fresh_parameters(host):
    example = host.example()
    example.parameterNode.title = "before"
    host.close_scene()
    assert example.calls[-2:] == ["close", "closed"]
    assert example.parameterNode.title == "untitled"


def test_scripts_have_a_folder_for_what_is_temporary_and_settings_for_what_is_kept(host):
    assert pathlib.Path(host.app.temporaryPath).is_dir()
    settings, name = host.qt.QSettings(), "ContractExample/number"
    assert not settings.contains(name)
    settings.setValue(name, 4)
    assert int(host.qt.QSettings().value(name)) == 4
    settings.remove(name)
