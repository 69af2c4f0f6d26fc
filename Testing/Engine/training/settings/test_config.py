"""Configurations as people write them: what is read, what is refused and in which words, presets and the template."""

import contextlib
import json
import re
import textwrap
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from Engine.made_images import code_of
from upgan.errors import InputError, OutputError
from upgan.pairs.finding import find_pairs
from upgan.training.settings.config import TrainingConfig
from upgan.training.settings.config_file import config_from, read_config
from upgan.training.settings.presets import preset
from upgan.training.settings.template import template, write_template

DOCUMENTATION = Path(__file__).parents[4] / "Documentation" / "Training.md"

CONFIG = """
name = "tiny"
[architecture]
phases = 2
width = 4
[data]
path = "pairs/manifest.json"
[loss]
l1 = 5.0
[schedule]
epochs = [15, 5]
joint_epochs = 2
warm_up = 5
[compute]
precision = "float32"
"""


def written(folder: Path, text: str = CONFIG) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return folder / "config.toml"


def refused(content: dict | Path, *overrides: str) -> str:
    """What is said of a configuration that is not valid."""
    with pytest.raises(InputError) as refusal:
        read_config(content, overrides) if isinstance(content, Path) else config_from(content)
    assert refusal.value.code == "config_invalid"
    assert refusal.value.sentence.endswith(".")
    return refusal.value.sentence


# What is read


def test_a_configuration_is_read_with_its_paths_relative_to_it_and_the_defaults_of_the_paper(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = read_config(written(tmp_path / "experiment").relative_to(tmp_path))
    assert config.data.path == tmp_path / "experiment" / "pairs" / "manifest.json"
    assert config.schedule.epochs == (15, 5)
    assert config.schedule.joint_learning_rate == 5e-4
    assert (config.loss.likelihood, config.loss.adversarial) == (1, 0.001)
    # Not the paper's, but what won (Documentation/Evidence.md).
    assert config.architecture.hand_over == "image"


@pytest.mark.parametrize(
    ("task", "sizes", "is_on"),
    [
        ("mri_undersampled", None, True),
        ("mri_motion", {"width": 16}, True),
        ("mri_motion", {"from_input": False}, False),
        ("mri_motion", {"name": "published-up-gan"}, None),
        ("mr_to_ct", None, False),
        ("pet_to_ct", {"width": 16}, False),
    ],
)
def test_a_restoration_starts_from_its_input_unless_told_otherwise(task, sizes, is_on):
    content = {"name": "x", "data": {"path": "x", "task": task}, **({"architecture": sizes} if sizes else {})}
    architecture = config_from(content).architecture
    assert getattr(architecture, "from_input", None) is is_on
    # A run that an earlier version began goes on from an empty image.
    assert not getattr(TrainingConfig.of_run(content).architecture, "from_input", False)


def test_an_input_on_another_scale_than_the_output_is_nothing_to_start_from():
    said = refused({"name": "x", "data": {"path": "x", "task": "mr_to_ct"}, "architecture": {"from_input": True}})
    assert "from_input" in said


@pytest.mark.parametrize("name", ["quick", "paper"])
def test_a_template_leaves_it_to_the_task_what_a_network_starts_from(name, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(template(name).replace('task = "pet_to_ct"', 'task = "mri_motion"'), encoding="utf-8")
    assert read_config(path).architecture.from_input is (name == "quick")


def test_a_base_is_a_folder_beside_the_file_or_else_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "experiment", 'base = "mine"\n' + CONFIG)
    assert read_config(path).base == "mine"
    (tmp_path / "experiment" / "mine").mkdir()
    assert read_config(path).base == str(tmp_path / "experiment" / "mine")


def test_an_installed_models_name_stays_one_though_a_folder_is_called_the_same(tmp_path):
    path = written(tmp_path, 'base = "pet-ct-phantom"\n' + CONFIG)
    (tmp_path / "pet-ct-phantom").mkdir()
    assert read_config(path).base == "pet-ct-phantom"


def test_what_is_set_on_the_command_line_takes_the_files_place(tmp_path, monkeypatch):
    path = written(tmp_path / "experiment")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    overrides = [
        "schedule.batch=4",
        "schedule.epochs=[1, 2]",
        "loss.l1 = 0.5",
        "split.seed=3",
        "data.register_pairs=true",
        "compute.device=cuda:1",  # bare, as a shell leaves it
        'data.layout="csv"',
        "data.path=pairs.csv",
        "name=other",
    ]
    config = read_config(path, overrides)
    assert (config.schedule.batch, config.schedule.epochs, config.loss.l1) == (4, (1, 2), 0.5)
    assert (config.split.seed, config.data.register_pairs, config.name) == (3, True, "other")
    assert (config.compute.device, config.data.layout) == ("cuda:1", "csv")
    assert config.data.path == tmp_path / "here" / "pairs.csv"  # as any path on a command line
    assert config.schedule.joint_epochs == 2


def test_a_table_saved_by_windows_notepad_is_read(tmp_path):
    (tmp_path / "config.toml").write_bytes(b"\xef\xbb\xbf" + CONFIG.replace("\n", "\r\n").encode())
    assert read_config(tmp_path / "config.toml").name == "tiny"


# What is refused


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("warm_up = 5", "warmup = 5", "There is no 'schedule.warmup'; the nearest is 'schedule.warm_up'."),
        ("warm_up = 5", "learning_rte = 5", "the nearest is 'schedule.learning_rate'."),
        ("warm_up = 5", "l1 = 5", "There is no 'schedule.l1'; the nearest is 'loss.l1'."),
        ("warm_up = 5", "discriminator_width = 4", "the nearest is 'discriminator.width'."),
        (
            'path = "pairs',
            'path = "x"\ntrain = 29\ninput = "',
            "There is no 'data.train'; the nearest is 'split.train'.",
        ),
        ('name = "tiny"', 'name = "tiny"\nprecision = "float32"', "the nearest is 'compute.precision'."),
        ("[loss]", "[los]", "There is no 'los'; the nearest is 'loss'."),
        ("width = 4", "chains = [1]", "There is no 'architecture.chains'; [architecture] has name, phases, width"),
        ('path = "pairs', 'manifest = "x"\npath = "', "There is no 'data.manifest'; [data] has path, layout"),
        ("width = 4", "width = 0", "'architecture.width' must be 1 or more, not 0."),
        ("warm_up = 5", "gradient_clip = 0", "'schedule.gradient_clip' must be above 0, not 0."),
        ("warm_up = 5", "weight_averaging = 1.0", "'schedule.weight_averaging' must be below 1, not 1.0."),
        ("warm_up = 5", "batch = 1.5", "'schedule.batch' must be a whole number, not 1.5."),
        ("warm_up = 5", 'batch = "many"', "'schedule.batch' must be a whole number, not \"many\"."),
        ("warm_up = 5", 'learning_rate = "fast"', "'schedule.learning_rate' must be a number, not \"fast\"."),
        ("warm_up = 5", "freeze_normalisation = 2", "'schedule.freeze_normalisation' must be true or false, not 2."),
        ("[15, 5]", "[15, -1]", "'schedule.epochs.1' must be 0 or more, not -1."),
        ("[15, 5]", "15", "'schedule.epochs' must be a list in brackets, not 15."),
        ("[15, 5]", "[15, 5, 20]", "schedule.epochs names 3 phases, the architecture has 2."),
        ('"pairs/manifest.json"', "3", "'data.path' must be a path in quotes, not 3."),
        ('path = "pairs', 'task = "pet_to_mr"\npath = "pairs', "there is no task 'pet_to_mr'"),
        ('"float32"', '"16-true"', "must be one of 'auto', 'float32' or 'bfloat16', not \"16-true\"."),
        ('name = "tiny"', 'name = "Not A Name"', "'name' cannot be \"Not A Name\". Name of the model that comes out"),
        ("phases = 2", 'name = "unet"', "'architecture.name' must be one of up-gan, published-up-gan, not \"unet\"."),
        (
            'path = "pairs',
            'task = "mri_motion"\ndegradation = {kinds = ["shake"]}\npath = "',
            "'data.degradation.kinds.0' must be one of",
        ),
        (
            'path = "pairs',
            'task = "mri_motion"\ndegradation = {kinds = []}\npath = "',
            "data.degradation.kinds: names no kind",
        ),
        (
            'path = "pairs',
            'task = "mri_motion"\ndegradation = {kinds = ["motion"], noise = 1}\npath = "',
            "There is no 'data.degradation.noise'; [data.degradation] has kinds, axis, snr",
        ),
        (
            'path = "pairs',
            'task = "mri_motion"\ndegradation = {kinds = ["any_motion"], severity = [3.0, 1.0]}\npath = "',
            "'data.degradation.kinds.0' must be one of",
        ),
        (
            'path = "pairs',
            'task = "mri_motion"\ndegradation = {kinds = ["sudden_motion"], severity = [3.0, 1.0]}\npath = "',
            "data.degradation.severity: is a least and a greatest severity",
        ),
        (
            'path = "pairs',
            'task = "mri_motion"\ndegradation = {kinds = ["sudden_motion"], severity = [0.0, 100.0]}\npath = "',
            "data.degradation.severity.1",
        ),
        ('path = "pairs', 'task = "mri_motion"\ndegradation = "shake"\npath = "', "'data.degradation' must be one of"),
        ("[loss]\nl1 = 5.0", "[[loss]]\nl1 = 5.0", "'loss' is a section with keys of its own"),
    ],
)
def test_a_wrong_entry_is_named_with_what_it_must_be(tmp_path, right, wrong, said):
    assert right in CONFIG
    assert said in refused(written(tmp_path, CONFIG.replace(right, wrong, 1)))


@pytest.mark.parametrize(
    "choice", ["undersampling", {"kinds": ["sudden_motion"], "axis": "either", "snr": 30.0, "severity": [1.0, 3.0]}]
)
def test_a_degradation_is_written_as_it_was_chosen(tmp_path, choice):
    config = config_from({"name": "x", "data": {"path": "x", "task": "mri_undersampled", "degradation": choice}})
    written = json.loads(config.model_dump_json())
    assert written["data"]["degradation"] == choice
    assert TrainingConfig.of_run(written) == config


def test_a_section_that_is_a_single_value_is_said_to_be_none():
    for section in ("architecture", "data", "schedule"):
        content = {"name": "x", "data": {"path": "x"}, section: "up-gan"}
        assert f"'{section}' is a section" in refused(content)


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    said = refused(
        written(tmp_path, CONFIG.replace("warm_up = 5", "warmup = 5\nbatch = 0").replace('name = "tiny"', ""))
    )
    for part in ("'name' is not given.", "'schedule.warm_up'", "'schedule.batch' must be 1 or more"):
        assert part in said


def test_the_same_is_said_of_json(tmp_path):
    assert refused({"data": {"path": "x"}}) == "'name' is not given."
    assert "'data.path'" in refused({"name": "x", "data": {}})


@pytest.mark.parametrize("override", ["schedule.batch", "=3", ".batch=3", "schedule.=3"])
def test_an_override_that_sets_nothing_is_refused(tmp_path, override):
    assert "sets nothing" in refused(written(tmp_path), override)


def test_an_override_is_checked_as_the_file_is(tmp_path):
    assert "the nearest is 'schedule.batch'" in refused(written(tmp_path), "schedule.bach=4")
    assert "'loss' is a section" in refused(written(tmp_path), "loss=4")


def test_a_configuration_that_is_not_there_or_no_toml_is_refused(tmp_path):
    with pytest.raises(InputError) as refusal:
        read_config(tmp_path / "none.toml")
    assert refusal.value.code == "config_not_found"
    for content in (b"name = ", b"\xff\xfe", b"a = 1\na = 2"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(InputError) as refusal:
            read_config(tmp_path / "bad.toml")
        assert refusal.value.code == "config_unreadable"
    with pytest.raises(InputError) as refusal:
        read_config(tmp_path)
    assert refusal.value.code == "config_unreadable"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "data", "path", "schedule", "epochs", "architecture", "loss", "x"]), inner
            )
        ),
        max_leaves=12,
    ).filter(lambda value: isinstance(value, dict))
)
def test_nothing_that_json_can_say_fails_otherwise_than_by_a_refusal(content):
    with contextlib.suppress(InputError):
        config_from(content)


# Presets


def values_of(name, base=None) -> TrainingConfig:
    return config_from({"name": "x", "data": {"path": "x"}, **preset(name, base)})


def test_the_papers_preset_changes_how_phases_hang_together_and_nothing_else():
    wiring = {"hand_over": "product", "residual": False, "from_input": False, "sigma_mean": "slice"}
    assert preset("paper") == {"architecture": wiring}


def test_the_quick_preset_costs_about_an_hour_on_two_cores():
    """At the seconds a step that were measured beforehand: 0.145 for phase 1, three times as much end to end."""
    from upgan.training.loop.stage import plan_stages

    config = values_of("quick")
    plans = plan_stages(config, config.architecture.phases)
    seconds = sum(plan.epochs * config.schedule.epoch_steps * 0.145 * plan.cost / 3 for plan in plans)
    assert 45 * 60 < seconds < 75 * 60
    # Phase 1 to its plateau first: that took 3000 steps and more.
    assert config.schedule.epochs[0] * config.schedule.epoch_steps >= 3000


def test_fine_tuning_trains_all_phases_of_its_base_together_and_keeps_their_statistics(tiny_bundle):
    config = values_of("fine-tune", str(tiny_bundle.folder))
    assert config.base == str(tiny_bundle.folder)
    assert config.schedule.epochs == (0, 0)  # the tiny bundle has two phases
    assert config.schedule.joint_epochs > 0
    assert config.schedule.joint_learning_rate <= 3e-4
    assert config.schedule.freeze_normalisation


def test_fine_tuning_needs_a_base():
    with pytest.raises(InputError) as refusal:
        preset("fine-tune")
    assert refusal.value.code == "preset_needs_base"


@pytest.mark.parametrize("name", ["paper", "quick"])
def test_a_preset_has_as_many_durations_as_its_base_has_phases_and_leaves_it_its_networks(name, tiny_bundle):
    values = preset(name, str(tiny_bundle.folder))
    assert len(values["schedule"]["epochs"]) == 2
    assert "architecture" not in values


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="paper, quick, fine-tune") as refusal:
        preset("slow")
    assert refusal.value.code == "unknown_preset"


# The template


@pytest.mark.parametrize("name", ["paper", "quick", "fine-tune"])
def test_the_template_reads_back_as_its_preset(name, tmp_path, tiny_bundle):
    base = str(tiny_bundle.folder) if name == "fine-tune" else None
    write_template(tmp_path / "config.toml", name, base)
    found = read_config(tmp_path / "config.toml")
    expected = config_from(
        {"name": "my-model", "data": {"path": str(tmp_path / "pairs" / "manifest.json")}, **preset(name, base)}
    )
    assert found == expected


def test_every_key_is_in_the_template_with_a_comment_above_it():
    lines = template("paper").splitlines()

    def check(model: type[BaseModel], section: list[str]) -> None:
        for key, field in model.model_fields.items():
            inner = field.annotation if isinstance(field.annotation, type) else None
            if key == "architecture":
                inner = type(field.default)
            if inner is not None and issubclass(inner, BaseModel):
                start = lines.index(f"[{key}]")
                end = next((n for n in range(start + 1, len(lines)) if lines[n].startswith("[")), len(lines))
                assert lines[start - 1].startswith("# "), key
                check(inner, lines[start:end])
            else:
                (place,) = [n for n, line in enumerate(section) if line.removeprefix("# ").startswith(f"{key} = ")]
                assert section[place - 1].startswith("# "), key

    check(TrainingConfig, lines[: lines.index("[architecture]")])


def test_what_is_commented_out_in_the_template_is_valid_when_it_is_uncommented():
    text = template("paper")
    uncommented = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and " = " in line else line for line in text.splitlines()
    )
    config = config_from(tomllib.loads(uncommented))
    missing = [name for name, value in config.model_dump()["schedule"].items() if value is None]
    assert missing == []
    assert (config.split.train, config.split.validation, config.split.test) == (29, 5, 15)
    assert config.base == "pet-ct-phantom"


def test_the_template_takes_no_files_place(tmp_path):
    write_template(tmp_path / "config.toml", "paper")
    before = (tmp_path / "config.toml").read_bytes()
    with pytest.raises(OutputError) as refusal:
        write_template(tmp_path / "config.toml", "quick")
    assert refusal.value.code == "exists"
    assert (tmp_path / "config.toml").read_bytes() == before


def test_a_template_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(OutputError) as refusal:
        write_template(tmp_path / "none" / "config.toml", "paper")
    assert refusal.value.code == "not_writable"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), min_size=1))
def test_a_base_of_any_name_survives_the_template(name):
    from upgan.training.settings.template import _toml

    assert tomllib.loads(f"base = {_toml(name)}")["base"] == name


# The documentation


def examples() -> list[str]:
    """The indented blocks of the documentation."""
    blocks = re.findall(r"(?:^    .*\n)+", DOCUMENTATION.read_text(encoding="utf-8"), re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


def test_every_configuration_in_the_documentation_is_valid():
    found = [config_from({"name": "x", **tomllib.loads(text)}) for text in examples() if text.startswith("[")]
    assert [config.data.layout for config in found] == ["csv", "pattern", "bids", "ixi"]


def test_the_lists_of_pairs_in_the_documentation_are_read(tmp_path):
    for start, name in (("subject,", "pairs.csv"), ("{", "manifest.json")):
        (text,) = [text for text in examples() if text.startswith(start)]
        (tmp_path / name).write_text(text, encoding="utf-8")
    data = config_from({"name": "x", "data": {"path": str(tmp_path / "pairs.csv"), "layout": "csv"}}).data
    first, _, last = find_pairs(data)
    assert (first.subject, first.input, first.split) == ("p01", tmp_path / "p01" / "nacpet.nii.gz", "train")
    assert (last.target, last.split) == (tmp_path / "p03" / "dicom" / "ct", "test")
    data = config_from({"name": "x", "data": {"path": str(tmp_path / "manifest.json")}}).data
    assert [pair.target for pair in find_pairs(data)] == [tmp_path / "p01_ct.nii.gz"]


# Odd configurations


DEEP = 20_000


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a = " + "[" * DEEP, "config_unreadable"),
        ("a = " + "{a = " * 700, "config_unreadable"),
        ("a." * DEEP + "b = 1", "config_unreadable"),
        ("\n".join(["[" + "a." * 1000 + "b]"] * 2), "config_unreadable"),
        (CONFIG + "\n[" + "data.path." + "a." * 1900 + "b]\nc = 1", "config_unreadable"),
        (CONFIG + "".join(f"k{number} = 1\n" for number in range(5000)), "config_invalid"),
        ("#" * (1 << 19), "config_unreadable"),
        ("a = " + "9" * 5000, "config_unreadable"),
        (CONFIG.replace("[loss]", "spacing_mm = [1e-9, 2.0]\n[loss]"), "config_invalid"),
        ("name = '\udc80'", "config_unreadable"),
        ("\0", "config_unreadable"),
    ],
    ids=range(11),
)
def test_a_configuration_of_whatever_content_is_refused_soon(tmp_path, text, code):
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    started = time.process_time()
    with pytest.raises(InputError) as refusal:
        read_config(path)
    assert refusal.value.code == code
    assert len(refusal.value.sentence) < 10_000
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "override", ["data.path=" + "[" * 3000, "data.path." + "a." * DEEP + "b=1", "seed=" + "9" * 5000]
)
def test_an_override_of_whatever_content_is_refused(tmp_path, override):
    assert code_of(lambda: read_config(written(tmp_path), [override])) in ("config_unreadable", "config_invalid")


def test_json_that_is_nested_too_deep_is_refused():
    deep = {}
    for _ in range(DEEP):
        deep = {"a": deep}
    assert code_of(lambda: config_from({"name": "x", "data": {"path": deep}})) == "config_unreadable"


def test_a_home_of_nobody_and_a_name_that_no_file_can_have_are_names(tmp_path):
    text = 'base = "~nobody/' + "x" * 3000 + '"' + CONFIG
    assert read_config(written(tmp_path, text)).base.startswith("~nobody")
