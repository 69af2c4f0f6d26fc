"""The Slicer side must load where nothing but Slicer is installed: a module whose import fails disappears."""

import ast
import re
import sys
import tomllib

import pytest

ALLOWED = {*sys.stdlib_module_names, "slicer", "vtk", "qt", "ctk", "numpy", "UncertaintyGuidedI2ILib"}


def imports_at_file_scope(tree):
    """Yield the top-level package of every import that runs when the file is imported."""
    pending = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending.extend(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            pending.extend(
                child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.ExceptHandler)
            )


def slicer_side(module):
    return [module / "UncertaintyGuidedI2I.py", *sorted((module / "UncertaintyGuidedI2ILib").rglob("*.py"))]


def test_the_slicer_side_imports_only_what_slicer_brings(module):
    found = {
        path.name: set(imports_at_file_scope(ast.parse(path.read_text()))) - ALLOWED for path in slicer_side(module)
    }
    assert {name: extra for name, extra in found.items() if extra} == {}


def test_the_engine_knows_no_slicer(module):
    for path in (module / "upgan").rglob("*.py"):
        imported = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert not imported & {"slicer", "vtk", "qt", "ctk", "UncertaintyGuidedI2ILib"}, path


# By what name each is imported, where that is not the package's own.
IMPORTED_AS = {"lightning-fabric": "lightning_fabric", "scikit-image": "skimage"}
# What an application brings: Slicer and its extensions.
OF_THE_APPLICATION = {"slicer", "vtk", "qt", "ctk", "PyTorchUtils", "SampleData", "MRMLCorePython"}


def imported(tree):
    """Yield the top-level package of every import anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_every_package_that_is_imported_is_declared_for_pip_and_for_slicer(root, module):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for_pip = [*project["dependencies"], *extras["train"], *extras["report"]]
    for_slicer = [
        line
        for path in (module / "Resources").glob("requirements*.txt")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    found = {name for path in module.rglob("*.py") for name in imported(ast.parse(path.read_text(encoding="utf-8")))}
    found -= {*sys.stdlib_module_names, *OF_THE_APPLICATION, "upgan", "UncertaintyGuidedI2ILib"}
    # Pydantic's own other half, of which it names the very version that it needs.
    found -= {"pydantic_core"}
    assert found - names_of(for_pip) - {"packaging"} == set()
    # The command line's are for pip only; the rest Slicer and its PyTorch extension have.
    bundled = {"torch", "numpy", "scipy", "SimpleITK", "pydicom", "packaging"}
    assert found - names_of(for_slicer) - bundled - {"typer", "rich"} == set()


def names_of(requirements):
    names = {re.match(r"[\w.-]+", requirement)[0] for requirement in requirements}
    return {IMPORTED_AS.get(name, name) for name in names}


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("import torch", {"torch"}),
        ("try:\n    import torch.nn\nexcept ImportError:\n    import numpy", {"torch", "numpy"}),
        ("class A:\n    from torch import nn", {"torch"}),
        ("def f():\n    import torch", set()),
        ("if TYPE_CHECKING:\n    import torch", set()),
    ],
)
def test_the_check_sees_what_runs_at_import(code, seen):
    assert set(imports_at_file_scope(ast.parse(code))) == seen
