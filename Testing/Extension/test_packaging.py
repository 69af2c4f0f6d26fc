"""What Slicer's build and its Extensions Manager read, held to the same facts and to the disk."""

import json
import re

import pytest

NAME = "UncertaintyGuidedI2I"
# The properties of slicer-extension-catalog-entry-schema-v1.0.2.json, which allows no others.
SCHEMA = {
    "$schema": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "category": str,
    "dicom_support_rule": str,
    "enabled": bool,
    "scm_revision": str,
    "scm_type": str,
    "scm_url": str,
    "tier": int,
}
# What an editor or Python leaves behind is not part of the extension.
IGNORED = ("__pycache__", ".DS_Store")


def cmake_list(text, variable):
    """Return the entries of set(VARIABLE ...)."""
    body = re.search(rf"set\({variable}\s+(.*?)\)", text, re.DOTALL).group(1)
    return [entry.replace("${MODULE_NAME}", NAME) for entry in body.split()]


def cmake_string(text, variable):
    return re.search(rf'set\({variable} "(.*?)"\)', text).group(1)


@pytest.fixture
def module_cmake(module):
    return (module / "CMakeLists.txt").read_text()


@pytest.fixture
def extension_cmake(root):
    return (root / "CMakeLists.txt").read_text()


@pytest.fixture
def s4ext(root):
    lines = (root / f"{NAME}.s4ext").read_text().splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))


@pytest.fixture
def catalog(root):
    return json.loads((root / f"{NAME}.json").read_text())


def files(folder, base):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(base).as_posix() for p in found if not any(part in IGNORED for part in p.parts)}


def test_every_script_on_the_disk_is_installed(module, module_cmake):
    on_disk = {path for path in files(module, module) if path.endswith(".py")}
    assert on_disk - set(cmake_list(module_cmake, "MODULE_PYTHON_SCRIPTS")) == set()


def test_every_resource_on_the_disk_is_installed(module, module_cmake):
    on_disk = files(module / "Resources", module)
    assert on_disk - set(cmake_list(module_cmake, "MODULE_PYTHON_RESOURCES")) == set()


@pytest.mark.parametrize("variable", ["MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"])
def test_everything_that_is_installed_exists(variable, module, module_cmake):
    listed = cmake_list(module_cmake, variable)
    assert [path for path in listed if not (module / path).is_file()] == []
    assert len(listed) == len(set(listed))


def test_subdirectories_that_cmake_enters_have_a_list_of_their_own(root, extension_cmake):
    entered = re.findall(r"add_subdirectory\((\S+)\)", extension_cmake)
    assert NAME in entered
    for folder in entered:
        text = (root / folder / "CMakeLists.txt").read_text()
        for inner in re.findall(r"add_subdirectory\((\S+)\)", text):
            assert (root / folder / inner / "CMakeLists.txt").is_file()


def test_unit_tests_that_ctest_runs_exist(root):
    for path in (*root.glob("Testing/**/CMakeLists.txt"), root / NAME / "CMakeLists.txt"):
        for script in re.findall(r"slicer_add_python_unittest\(SCRIPT (\S+)\)", path.read_text()):
            assert (path.parent / script.replace("${MODULE_NAME}", NAME)).is_file()


def test_project_module_and_catalog_have_one_name(extension_cmake, module_cmake, module):
    assert f"project({NAME})" in extension_cmake
    assert f"set(MODULE_NAME {NAME})" in module_cmake
    assert (module / f"{NAME}.py").is_file()


def test_the_catalog_entry_follows_the_schema(catalog):
    assert {"$schema", "category", "scm_url"} <= set(catalog) <= set(SCHEMA)
    assert {key: type(value) for key, value in catalog.items()} == {key: SCHEMA[key] for key in catalog}
    assert catalog["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert 1 <= catalog["tier"] <= 5


def test_catalog_s4ext_and_cmake_agree(catalog, s4ext, extension_cmake):
    assert catalog["category"] == s4ext["category"] == cmake_string(extension_cmake, "EXTENSION_CATEGORY")
    depends = cmake_string(extension_cmake, "EXTENSION_DEPENDS").split()
    assert catalog["build_dependencies"] == s4ext["depends"].split() == depends == ["PyTorch"]
    assert catalog["scm_url"] == s4ext["scmurl"]
    assert catalog["scm_revision"] == s4ext["scmrevision"]
    assert str(catalog["tier"]) == s4ext["tier"]
    assert str(int(catalog["enabled"])) == s4ext["enabled"]
    assert catalog["build_subdirectory"] == s4ext["build_subdirectory"]
    for word in ("homepage", "contributors", "description", "iconurl", "screenshoturls"):
        assert s4ext[word] == cmake_string(extension_cmake, f"EXTENSION_{word.upper()}"), word


def test_the_icon_is_where_its_address_says_and_of_the_size_that_slicer_asks_for(root, module, extension_cmake):
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    path = cmake_string(extension_cmake, "EXTENSION_ICONURL").split("/main/")[1]
    for icon in (root / path, module / "Resources" / "Icons" / f"{NAME}.png"):
        with image.open(icon) as picture:
            assert picture.size == (128, 128)


def test_the_licence_is_apache_in_full(root):
    text = (root / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("suffix", [".py", ".ui", ".txt", ".json", ".s4ext"])
def test_no_file_names_a_path_of_the_machine_it_was_written_on(suffix, root, module):
    paths = [*root.glob(f"*{suffix}"), *module.rglob(f"*{suffix}")]
    for path in paths:
        assert not re.search(r"(?<![\w.])/(home|tmp|work|root|Users)/", path.read_text()), path
