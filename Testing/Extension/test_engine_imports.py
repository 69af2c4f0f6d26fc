"""What the viewer itself uses of the engine is imported beforehand, in small steps."""

import ast
import json
import subprocess
import sys

# Scripts wait for what they ask for; files of pairs are written in a thread, which imports what it needs.
ELSEWHERE = {"logic.py": None, "train/export.py": "upgan.images.writing"}

MEASURE = """
import importlib, json, sys, time
sys.path.insert(0, sys.argv[1])
import numpy
steps, uses = json.loads(sys.stdin.read())
seconds = []
for name in steps:
    started = time.process_time()
    importlib.import_module(name)
    seconds.append(time.process_time() - started)
before = set(sys.modules)
for name in uses:
    importlib.import_module(name)
print(json.dumps([seconds, sorted(name for name in set(sys.modules) - before if not name.startswith("upgan"))]))
"""


def engine_modules(path, module):
    """Yield what a file of the Slicer side imports of the engine when it runs."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body.clear()
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "upgan":
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from [name for name in inner if (module / f"{name.replace('.', '/')}.py").is_file()] or [node.module]


def test_after_small_steps_the_viewer_waits_for_no_library_any_more(module):
    library = module / "UncertaintyGuidedI2ILib"
    tree = ast.parse((library / "work" / "engine_imports.py").read_text())
    (steps,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "MODULES"
    )
    uses = {
        name
        for path in library.rglob("*.py")
        for name in engine_modules(path, module)
        if ELSEWHERE.get(path.relative_to(library).as_posix(), "") not in (None, name)
    }
    assert {"upgan.bundles.domain", "upgan.uncertainty.derived", "upgan.bundles.library"} <= uses
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE, str(module)],
        input=json.dumps([steps, sorted(uses)]),
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, later = json.loads(answer.stdout)
    assert {name.split(".")[0] for name in later} - set(sys.stdlib_module_names) == set()
    assert max(seconds) < 0.3 * sum(seconds)
