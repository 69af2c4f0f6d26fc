"""What Documentation/ and CONTRIBUTING.md say of the tree is so: every room is there, and every path exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "UncertaintyGuidedI2I"
ENGINE, SLICER_SIDE = MODULE / "upgan", MODULE / "UncertaintyGuidedI2ILib"
ROOMS = [
    path.parent.relative_to(house).as_posix()
    for house in (ENGINE, SLICER_SIDE)
    for path in sorted(house.rglob("__init__.py"))
    if path.parent != house and path.parent.parent != ENGINE / "images"
]
FILES = [path.stem for house in (ENGINE, SLICER_SIDE) for path in sorted(house.glob("*.py")) if path.stem != "__init__"]
# Beside what lies under the root, what rooms are called among themselves.
BASES = (ROOT, MODULE, ENGINE)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def sentence_of(room: str) -> str:
    (file,) = (file for house in (ENGINE, SLICER_SIDE) if (file := house / room / "__init__.py").is_file())
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))).partition("\n\n")[0].replace("\n", " ")


@pytest.mark.parametrize("room", ROOMS)
def test_architecture_names_every_room_with_the_sentence_at_its_door(room):
    lines = text_of("Documentation/Architecture.md").replace("\\|", "|").splitlines()
    assert f"| `{room}` | {sentence_of(room)} |" in lines


@pytest.mark.parametrize("name", FILES)
def test_architecture_names_every_file_that_lies_in_no_room(name):
    assert re.search(rf"`{name}(\.py)?`", text_of("Documentation/Architecture.md"))


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "Documentation/Architecture.md", "Documentation/TechDebt.md"])
def test_every_path_that_a_document_names_exists(document):
    named = re.findall(r"`([\w.-]+(?:/[\w.-]+)+/?|\w+\.(?:py|toml|md))`", text_of(document))
    named += [f"{Path(document).parent}/{link}" for link in re.findall(r"\]\(([\w./-]+)\)", text_of(document))]
    assert named
    # A file without its folder is one of the folder named just before.
    loose = {path.name for path in (ROOT / "Testing").rglob("*.py")} | {"metadata.json", "config.toml"}
    absent = [name for name in named if name not in loose and not any((base / name).exists() for base in BASES)]
    assert [name for name in absent if not (SLICER_SIDE / name).exists()] == []


def test_the_readme_leads_to_every_document():
    readme = text_of("README.md")
    documents = [path.relative_to(ROOT).as_posix() for path in (ROOT / "Documentation").glob("*.md")]
    assert [name for name in (*documents, "CONTRIBUTING.md") if f"]({name})" not in readme] == []
