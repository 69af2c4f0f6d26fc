"""The tests that Documentation/Security.md names as its proof are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_wall_has_the_tests_that_the_table_names():
    text = (ROOT / "Documentation" / "Security.md").read_text(encoding="utf-8")
    testing = ROOT / "Testing"
    files = {
        path.relative_to(testing).as_posix(): path.read_text(encoding="utf-8") for path in testing.rglob("test_*.py")
    }
    rows = [line for line in text.splitlines() if line.startswith("|") and "test_" in line]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`((?:\w+/)+test_\w+\.py)", row)
        assert named, row
        assert set(named) <= set(files), row
        tests = re.findall(r"def (test_\w+)", "".join(files[name] for name in named))
        for part in re.findall(r"(?:::|`…)([\w…]+)`", row):
            expression = ".*".join(map(re.escape, part.strip("…").split("…")))
            assert any(re.search(expression, name) for name in tests), part
