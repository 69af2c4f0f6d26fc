"""What is run inside Slicer (Testing/Python by CTest, Testing/Contract by a script) runs in the host too."""

import ast
import importlib.util
import sys
import unittest
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "Python"
FILES = sorted(FOLDER.glob("test_*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_slicer_tests_in_itself_holds_here(host, path):
    host.load_module(FOLDER.parents[1] / "UncertaintyGuidedI2I" / "UncertaintyGuidedI2I.py")
    host.complete_startup()
    tests = unittest.defaultTestLoader.loadTestsFromModule(load(path))
    found = unittest.TestResult()
    tests.run(found)
    assert found.testsRun > 0
    assert [f"{test}\n{trace}" for test, trace in (*found.failures, *found.errors)] == []
    assert found.skipped == []


CLAIMS = """
def test_the_scene_is_there(host):
    assert host.scene.GetNumberOfNodes()

def test_a_claim_that_does_not_hold(host):
    assert host.app is None

def test_an_error_in_a_slot(host):
    button = host.qt.QPushButton()
    button.clicked.connect(lambda: 1 / 0)
    button.click()
"""


def test_the_script_says_of_each_claim_whether_it_holds_and_ends_slicer_with_it(host, tmp_path, monkeypatch, capsys):
    import slicer

    from Contract.run_in_slicer import main

    ended = []
    monkeypatch.setattr(slicer.util, "exit", ended.append)
    (tmp_path / "test_three.py").write_text(CLAIMS)
    main(tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if "test_three::" in line]
    assert lines == [
        "holds test_three::test_the_scene_is_there",
        "FAILS test_three::test_a_claim_that_does_not_hold",
        "FAILS test_three::test_an_error_in_a_slot",
    ]
    (tmp_path / "test_three.py").write_text(CLAIMS[: CLAIMS.index("def test_a_claim")])
    main(tmp_path)
    assert ended == [1, 0]


def test_the_claims_import_nothing_that_slicers_python_lacks():
    known = {*sys.stdlib_module_names, "numpy", "vtk", "slicer", "qt", "ctk", "Contract"}
    for path in (FOLDER.parent / "Contract").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        # pytest alone reads conftest.py.
        assert path.name == "conftest.py" or {name.split(".")[0] for name in names} <= known, path


def test_slicer_is_told_of_each_of_its_tests():
    listed = (FOLDER / "CMakeLists.txt").read_text()
    assert FILES
    assert [path.name for path in FILES if f"slicer_add_python_unittest(SCRIPT {path.name})" not in listed] == []
