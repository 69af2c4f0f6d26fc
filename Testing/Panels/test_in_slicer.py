"""The tests that Slicer runs in itself (Testing/Python, by CTest) hold in the host too, as far as it can stand in."""

import importlib.util
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
def test_what_slicer_tests_in_itself_holds_here(host, module_widget, path):
    tests = unittest.defaultTestLoader.loadTestsFromModule(load(path))
    found = unittest.TestResult()
    tests.run(found)
    assert found.testsRun > 0
    assert [f"{test}\n{trace}" for test, trace in (*found.failures, *found.errors)] == []
    assert found.skipped == []


def test_slicer_is_told_of_each_of_its_tests():
    listed = (FOLDER / "CMakeLists.txt").read_text()
    assert FILES
    assert [path.name for path in FILES if f"slicer_add_python_unittest(SCRIPT {path.name})" not in listed] == []
