"""The selector and the card of a model: what a reader must see is there, and a stranger's text stays text."""

import copy
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BUNDLED = "pet-ct-phantom"

# What lays a card out: nothing here fetches, links or runs.
ALLOWED = {
    "h3": set(),
    "p": set(),
    "b": set(),
    "table": {"width", "cellpadding", "bgcolor"},
    "tr": set(),
    "th": set(),
    "td": {"align"},
    "span": {"style"},
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """Keep every test away from the models of whoever runs it."""
    folder = tmp_path / "Modelle – σ"
    monkeypatch.setenv("UPGAN_MODELS", str(folder))
    return folder


@pytest.fixture
def models(monkeypatch):
    translation = ModuleType("slicer.i18n")
    translation.tr = lambda text: text
    if "slicer" not in sys.modules:
        monkeypatch.setitem(sys.modules, "slicer", ModuleType("slicer"))
    monkeypatch.setitem(sys.modules, "slicer.i18n", translation)
    from UncertaintyGuidedI2ILib import models

    return models


def card_html(model) -> str:
    """The card; imported here, where the fixture's translations stand for Slicer's."""
    from UncertaintyGuidedI2ILib.translate.model_card import cardHtml

    return cardHtml(model)


def test_a_model_of_the_first_format_has_its_card(models, tmp_path):
    from upgan.bundles.library import import_model

    card = card_html(import_model(Path(__file__).parents[1] / "Fixtures" / "bundle-1.zip"))
    for text in ("NAC-PET → pseudo-CT", "not for patients", "pixels of 2 mm", "80.0 ± 10.0"):
        assert text in card


@pytest.fixture
def bundled(models):
    return next(model for model in models.installedModels() if model.name == BUNDLED)


class Reader(HTMLParser):
    """What of a card is markup, and what is text for the reader, row by row."""

    def __init__(self, card: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.lines = [""]
        self.feed(card)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("tr", "p", "h3"):
            self.lines.append("")
        elif tag in ("td", "th"):
            self.lines[-1] += "|"

    def handle_data(self, data):
        self.lines[-1] += data.replace("\xa0", "")

    def handle_decl(self, decl):
        raise AssertionError(decl)

    handle_pi = handle_comment = unknown_decl = handle_decl

    def row(self, title: str) -> str:
        (line,) = [line for line in self.lines if line.startswith(f"|{title}|")]
        return line.removeprefix(f"|{title}|")

    def assert_harmless(self) -> None:
        for tag, attributes in self.tags:
            assert set(attributes) <= ALLOWED[tag], (tag, attributes)


def read(models, model) -> Reader:
    reader = Reader(card_html(model))
    reader.assert_harmless()
    return reader


def changed(model, change):
    metadata = copy.deepcopy(model.metadata)
    change(metadata)
    return dataclasses.replace(model, metadata=metadata)


def install(model, home, origin, name):
    return Path(shutil.copytree(model.folder, home / origin / name))


# The selector


def test_the_selector_says_where_each_model_came_from_and_keeps_broken_ones_last(models, bundled, home):
    for origin, name in (("trained", "mine"), ("imported", "theirs")):
        install(bundled, home, origin, name)
    (install(bundled, home, "trained", "broken – σ") / "LICENSE").unlink()
    assert [models.modelLabel(model) for model in models.installedModels()] == [
        *(f"{name} (bundled)" for name in ("mr-ct-phantom", "mri-undersampled", BUNDLED)),
        "mine (trained here)",
        "theirs (imported)",
        "broken – σ (trained here, cannot be used)",
    ]


def test_listing_and_card_need_no_torch_and_no_pydantic(module):
    program = (
        "import sys, types\n"
        "sys.modules['slicer'] = types.ModuleType('slicer')\n"
        "sys.modules['slicer.i18n'] = translation = types.ModuleType('slicer.i18n')\n"
        "translation.tr = str\n"
        "from UncertaintyGuidedI2ILib import models\n"
        "from UncertaintyGuidedI2ILib.translate.model_card import cardHtml\n"
        "assert 'Measured' in cardHtml(models.installedModels()[0])\n"
        "print([name for name in ('torch', 'pydantic', 'safetensors', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=module, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


# The card


def test_the_card_shows_what_its_readme_measured(models, bundled):
    reader = read(models, bundled)
    readme = (bundled.folder / "docs" / "README.md").read_text(encoding="utf-8")
    for ours, theirs in [
        ("MAE (HU)", "MAE (HU)"),
        ("PSNR (dB)", "PSNR (dB)"),
        ("SSIM (3-D)", "SSIM (3-D)"),
        ("SSIM (2-D)", "SSIM (2-D, slice by slice)"),
        ("Coverage of 90 %", "coverage of 90 %"),
        ("ρ(error, σ)", "Spearman ρ(error, σ)"),
    ]:
        (line,) = [line for line in readme.splitlines() if line.startswith(f"| {theirs} |")]
        assert reader.row(ours).split("|") == [cell.strip() for cell in line.split("|")[2:-1]]
    assert re.search(r"and ([0-9.]+) million parameters", readme).group(1) in reader.row("Size")
    text = "\n".join(reader.lines)
    assert "15 held-out subjects" in text
    assert "mask: body: largest part above -500 HU, without a headrest" in text
    assert "data range of PSNR and SSIM: -1024 to 3000 HU" in text


def test_the_card_says_what_becomes_what_and_what_it_was_trained_on(models, bundled):
    reader = read(models, bundled)
    assert reader.lines[1] == "NAC-PET → pseudo-CT"
    assert reader.row("Translates") == "PET → pseudo-CT (HU)"
    assert "no patient was imaged" in reader.row("Trained on")
    assert "80 subjects to train on, 22 to watch, 15 held out" in reader.row("Trained on")
    assert reader.row("Slices") == "axial, resampled to 2 × 2 mm"
    assert reader.row("Phases") == "2"
    assert reader.row("Licence") == "Apache License, Version 2.0, January 2004"
    weights = hashlib.sha256((bundled.folder / "models" / "model.safetensors").read_bytes()).hexdigest()
    assert reader.row("Version") == f"0.2.0, SHA-256 {weights[:12]}…"


def test_rows_and_columns_of_the_spacing_are_not_mistaken_for_each_other(models, bundled):
    model = changed(bundled, lambda content: content["upgan"].update(spacing_mm=[3.0, 1.5]))
    assert read(models, model).row("Slices") == "axial, resampled to 1.5 × 3 mm"


def test_the_card_says_what_the_training_inputs_were_like_where_that_is_known(models, bundled):
    domain = {"volumes": 80, "pixel_mm": [2.0, 2.0], "gap_mm": [2.5, 5], "field_mm": [200, 256.4]}
    model = changed(bundled, lambda content: content["upgan"].update(domain=domain))
    seen = "pixels of 2 mm, slices 2.5 to 5 mm apart, field of view 200 to 256 mm"
    assert read(models, model).row("Inputs seen") == seen
    without = changed(bundled, lambda content: content["upgan"].pop("domain", None))
    assert "Inputs seen" not in card_html(without)


def loud(models, model) -> str:
    return "".join(re.findall(r'bgcolor="#b71c1c">(.*?)</table>', card_html(model)))


@pytest.mark.parametrize("use", ["For tests; not for patients.", "Never clinically.", "Research only."])
def test_a_use_that_excludes_patients_is_loud(models, bundled, use):
    assert use in loud(models, changed(bundled, lambda content: content.update(intended_use=use)))


def test_a_use_that_nobody_stated_is_loud_and_excludes_patients(models, bundled):
    assert "not for patients" in loud(models, changed(bundled, lambda content: content.pop("intended_use")))


def test_another_use_is_shown_quietly(models, bundled):
    model = changed(bundled, lambda content: content.update(intended_use="Attenuation correction of head PET."))
    assert loud(models, model) == ""
    assert "Attenuation correction of head PET." in card_html(model)


def test_a_card_without_figures_says_that_nothing_was_measured(models, bundled):
    model = changed(bundled, lambda content: content["upgan"].pop("figures"))
    text = "\n".join(read(models, model).lines)
    assert "Nothing was measured" in text
    assert "Not stated by its authors" in text
    assert "MAE" not in text


def test_figures_without_mask_and_range_are_said_to_lack_them(models, bundled):
    def forget(content):
        for key in ("mask", "data_range"):
            content["upgan"]["figures"]["test"].pop(key)

    text = "\n".join(read(models, changed(bundled, forget)).lines)
    assert "mask: not stated; data range of PSNR and SSIM: not stated" in text


def test_of_many_phases_the_first_and_the_last_two_are_shown(models, bundled):
    def add(content):
        phases = content["upgan"]["figures"]["test"]["phases"]
        phases["1"] = {"mae": [102.94, 4.9], "ssim_3d": [0.8931, 0.0052]}
        for number in range(3, 8):
            phases[str(number)] = {"mae": [float(number), 0.5]}

    reader = read(models, changed(bundled, add))
    assert "|".join(["", "", "Phase 1", "Phase 6", "Phase 7"]) in reader.lines
    assert reader.row("MAE (HU)") == "102.9 ± 4.9|6.0 ± 0.5|7.0 ± 0.5"
    assert reader.row("SSIM (3-D)") == "0.893 ± 0.005|–|–"


def test_the_ssim_of_an_earlier_version_stays_readable_and_is_not_taken_for_the_other(models, bundled):
    def forget(content):
        for phase in content["upgan"]["figures"]["test"]["phases"].values():
            del phase["ssim_3d"], phase["ssim_2d"]
            phase["ssim"] = [0.8366, 0.0065]

    reader = read(models, changed(bundled, forget))
    assert reader.row("SSIM (2-D, signed HU)") == "0.837 ± 0.006|0.837 ± 0.006"
    assert "SSIM (3-D)" not in "\n".join(reader.lines)


def test_a_model_in_the_inputs_own_unit_says_so_on_its_card(models, bundled):
    model = changed(bundled, lambda content: content["upgan"]["task"].update(unit="", input_modality="MR"))
    reader = read(models, model)
    assert reader.row("Translates") == "MRI → pseudo-CT (in the input’s own intensities, a.u.)"
    assert reader.row("MAE (a.u.)").startswith("77.3")


def test_published_networks_count_a_phase_per_chain(models, bundled):
    architecture = {"name": "published-up-gan", "chains": [2, 1, 1, 1], "width": 64}
    model = changed(bundled, lambda content: content["upgan"].update(architecture=architecture))
    assert read(models, model).row("Phases") == "4"


@pytest.mark.parametrize("header", [b"", b"\xff" * 8, b"\x02" + bytes(7) + b"[]", b"\x01" + bytes(7) + b"{", None])
def test_weights_that_cannot_be_read_are_said_to_be(models, bundled, home, header):
    folder = install(bundled, home, "imported", "x")
    weights = folder / "models" / "model.safetensors"
    weights.write_bytes(header) if header is not None else weights.unlink()
    model = dataclasses.replace(bundled, folder=folder)
    assert read(models, model).row("Size") == "Its weights cannot be read."


def test_a_broken_models_card_is_its_problem_and_its_place(models, bundled, home):
    folder = install(bundled, home, "imported", "broken")
    (folder / "configs" / "metadata.json").write_text("{")
    model = models.installedModels()[-1]
    assert "is not JSON" in loud(models, model)
    text = "\n".join(read(models, model).lines)
    assert str(folder) in text
    assert "cannot be used" in text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_card_does_not_wait_for_a_pipe(models, bundled, home):
    folder = install(bundled, home, "imported", "x")
    for name in ("LICENSE", "models/model.safetensors"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    cards = []
    model = dataclasses.replace(bundled, folder=folder)
    thread = threading.Thread(target=lambda: cards.append(read(models, model)), daemon=True)
    thread.start()
    thread.join(20)
    assert cards[0].row("Licence") == "Its LICENSE cannot be read."
    assert cards[0].row("Size") == "Its weights cannot be read."


def test_a_name_in_a_selector_hides_nothing(models, bundled):
    label = models.modelLabel(dataclasses.replace(bundled, name="a\u202eb\x1b[31m\nc"))
    assert label == "ab[31m\nc (bundled)".replace("\n", "")


# Strangers

ATTACK = '<script>alert(1)</script><img src="http://x/y.png"><a href="file:///etc">click</a> & "quoted" \'too\''


def every_text(content):
    """Replace every text in JSON by an attack."""
    if isinstance(content, dict):
        return {key: every_text(value) for key, value in content.items()}
    if isinstance(content, list):
        return [every_text(value) for value in content]
    return ATTACK if isinstance(content, str) else content


def test_whatever_a_stranger_writes_stays_text(models, bundled, home):
    folder = install(bundled, home, "imported", "<b onclick=x>&amp;")
    (folder / "LICENSE").write_text(ATTACK, encoding="utf-8")
    (model,) = [model for model in models.installedModels() if model.folder == folder]
    phases = {ATTACK: next(iter(model.metadata["upgan"]["figures"]["test"]["phases"].values()))}
    metadata = every_text(model.metadata)
    metadata["upgan"]["figures"]["test"]["phases"] = phases
    model = dataclasses.replace(model, metadata=metadata)
    for shown in (model, dataclasses.replace(model, problem=ATTACK)):
        text = "\n".join(read(models, shown).lines)
        assert ATTACK in text
        assert "<b onclick=x>&amp;" in text  # as it is, not unescaped once more


def test_texts_that_turn_the_writing_or_break_the_display_lose_what_does_it(models, bundled):
    hostile = "safe\u202egnp.exe\x00\x07 \ud800end"
    model = changed(bundled, lambda content: content.update(authors=hostile))
    assert read(models, model).row("Authors") == "safegnp.exe ?end"


def test_a_text_without_end_is_cut(models, bundled):
    model = changed(bundled, lambda content: content.update(authors="a" * 10_000_000))
    assert len(card_html(model)) < 20_000


@pytest.mark.parametrize("value", [10**400, float("nan"), float("inf"), True, "2.0", None])
def test_what_is_no_number_to_a_reader_is_left_out(models, bundled, value):
    def spoil(content):
        content["upgan"]["spacing_mm"] = [2.0, value]
        content["upgan"]["figures"]["test"]["subjects"] = value
        content["upgan"]["figures"]["test"]["phases"]["2"]["mae"] = [value, 1.0]

    reader = read(models, changed(bundled, spoil))
    assert reader.row("Slices") == "axial"
    assert reader.row("MAE (HU)").endswith("|–")
    assert "held-out subjects" not in "\n".join(reader.lines)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text() | st.just("<img src=x>"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def places(content, path=()):
    yield path
    if isinstance(content, dict):
        for key, value in content.items():
            yield from places(value, (*path, key))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_value_in_any_place_of_the_metadata_breaks_the_card(models, bundled, data):
    metadata = copy.deepcopy(bundled.metadata)
    metadata["upgan"]["domain"] = {name: [1, 2] for name in ("pixel_mm", "gap_mm", "field_mm", "diameter_mm")}
    for path in data.draw(st.lists(st.sampled_from([path for path in places(metadata) if path]), max_size=3)):
        holder = metadata
        for key in path[:-1]:
            holder = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(holder, dict):
            holder[path[-1]] = data.draw(VALUES)
    assert json.loads(json.dumps(metadata)) is not None
    read(models, dataclasses.replace(bundled, metadata=metadata))
