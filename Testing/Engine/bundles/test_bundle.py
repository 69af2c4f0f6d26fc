"""Model bundles: what is written verifies, what is damaged or unsafe is refused, nothing is executed."""

import gzip
import hashlib
import json
import logging
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from Engine.bomb import Bomb
from upgan.bundles import bundle as bundle_module
from upgan.bundles.bundle import Bundle, problems, read_licence, write_bundle
from upgan.bundles.layout import read_metadata
from upgan.bundles.library import find_bundle, installed_models
from upgan.bundles.metadata import checked_metadata
from upgan.errors import BundleError, InputError, OutputError
from upgan.networks import weights as weights_module

ROOT = Path(__file__).parents[3]
BUNDLED = "pet-ct-phantom"


def edit_metadata(folder: Path, change) -> None:
    path = folder / "configs" / "metadata.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def codes(folder: Path) -> list[str]:
    return [problem.code for problem in problems(folder)]


def test_what_was_written_verifies_and_loads_the_same_weights_in_half_precision(tiny_bundle):
    from Engine.conftest import seasoned_cascade

    assert problems(tiny_bundle.folder) == []
    written = seasoned_cascade().state_dict()
    for name, tensor in Bundle.open(tiny_bundle.folder).load_cascade().state_dict().items():
        expected = written[name]
        torch.testing.assert_close(tensor, expected.half().float() if tensor.is_floating_point() else expected)


def break_weights(folder):
    path = folder / "models" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "checksum_mismatch": break_weights,
    "weights_missing": lambda folder: (folder / "models" / "model.safetensors").unlink(),
    "metadata_missing": lambda folder: (folder / "configs" / "metadata.json").unlink(),
    "metadata_unreadable": lambda folder: (folder / "configs" / "metadata.json").write_text("{"),
    "unknown_architecture ": lambda folder: (folder / "configs" / "metadata.json").write_text("null"),
    "unknown_architecture": lambda folder: edit_metadata(
        folder, lambda content: content["upgan"]["architecture"].update(name="transformer")
    ),
    "metadata_invalid": lambda folder: edit_metadata(
        folder, lambda content: content["upgan"].update(spacing_mm=[0, 2])
    ),
    "metadata_invalid ": lambda folder: edit_metadata(
        folder, lambda content: content["upgan"]["architecture"].update(concentration_range=[2.0, 3.0])
    ),
    "checksum_missing": lambda folder: edit_metadata(folder, lambda content: content["upgan"].update(sha256={})),
    "bundle_incomplete": lambda folder: (folder / "LICENSE").unlink(),
    "holds_pickle": lambda folder: (folder / "models" / "extra.pt").write_bytes(b"PK\x03\x04"),
    "bundle_unsafe": lambda folder: (folder / "docs" / "link.md").symlink_to("/etc/hostname"),
    "bundle_not_found": shutil.rmtree,
}


@pytest.mark.parametrize("code", DAMAGE)
def test_each_damage_is_named(tiny_bundle, code):
    DAMAGE[code](tiny_bundle.folder)
    assert code.strip() in codes(tiny_bundle.folder)
    with pytest.raises(BundleError) as refusal:
        Bundle.open(tiny_bundle.folder)
    assert refusal.value.remedy


def test_a_bundle_of_another_kind_is_not_a_up_gan(tiny_bundle):
    edit_metadata(tiny_bundle.folder, lambda content: content.pop("upgan"))
    assert codes(tiny_bundle.folder) == ["unknown_architecture"]


@pytest.mark.parametrize("name", ["model.safetensors", "notes.txt", "model.json"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_under_a_harmless_name_is_refused_and_does_not_run(tiny_bundle, tmp_path, name, protocol):
    (tiny_bundle.folder / "models" / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded"), protocol))
    assert "holds_pickle" in codes(tiny_bundle.folder)
    with pytest.raises(BundleError):
        Bundle.open(tiny_bundle.folder)
    assert not (tmp_path / "exploded").exists()


def test_checksums_cannot_point_outside_the_bundle(tiny_bundle):
    outside = tiny_bundle.folder.parent / "outside.safetensors"
    outside.write_bytes(b"x")
    edit_metadata(
        tiny_bundle.folder, lambda content: content["upgan"]["sha256"].update({"../outside.safetensors": "0"})
    )
    assert "weights_missing" in codes(tiny_bundle.folder)


def test_weights_of_another_architecture_are_refused_on_loading(tiny_bundle):
    edit_metadata(tiny_bundle.folder, lambda content: content["upgan"]["architecture"].update(width=4))
    with pytest.raises(BundleError) as refusal:
        Bundle.open(tiny_bundle.folder).load_cascade()
    assert refusal.value.code == "weights_mismatch"


def test_weights_that_half_precision_cannot_hold_are_refused_on_loading(tiny_bundle):
    cascade = tiny_bundle.load_cascade()
    with torch.no_grad():
        cascade.generators[0].image_head.weight.fill_(1e6)
    content = json.loads((tiny_bundle.folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    section = {key: content["upgan"][key] for key in ("task", "spacing_mm")}
    metadata = {"name": "overflown", "version": "1", "description": ""}
    bundle = write_bundle(tiny_bundle.folder.with_name("overflown"), cascade, metadata, section, "", "")
    with pytest.raises(BundleError) as refusal:
        bundle.load_cascade()
    assert refusal.value.code == "weights_not_finite"


def place_of(content: dict, path: tuple):
    for key in path[:-1]:
        content = content[key]
    return content


# Where in the section a number or text stands, and what no model of earlier versions has there.
SENSELESS = [
    (("task", "output", "factor"), 1e300),
    (("task", "output", "factor"), 1e-300),
    (("task", "output", "factor"), float("nan")),
    (("task", "output", "offset"), float("nan")),
    (("task", "output", "offset"), -1e30),
    (("task", "output", "offset"), 10**400),
    (("task", "input", "power"), 1e-9),
    (("task", "input", "percentile"), float("inf")),
    (("task", "display", "window"), float("inf")),
    (("task", "display", "level"), 1e300),
    (("task", "display", "sigma_max"), 1e-300),
    (("spacing_mm",), [2.0, float("nan")]),
    (("spacing_mm",), [1e-300, 2.0]),
    (("spacing_mm",), [2.0, 1e300]),
    (("architecture", "scale_floor"), 1e300),
    (("architecture", "concentration_range"), [1e-30, 8.0]),
    (("architecture", "phases"), 10**9),
    (("calibration",), {"patients": 1, "voxels": 1, "scale": [1e300] * 2, "conformal": {}, "note": ""}),
    (("calibration",), {"patients": 1, "voxels": 1, "scale": [1.0] * 2, "conformal": {"0.9": 1e300}, "note": ""}),
    (("figures",), {"test": {"phases": {"1": {"mae": [1e300, 0.0]}}}}),
    (("architecture", "from_input"), True),  # The bundled model makes HU of uptake.
    (("task", "image_key"), "sigma"),
    (("task", "image_key"), "provenance"),
    (("task", "image_key"), "epistemic"),
    (("task", "image_key"), "alpha_phase_1"),
    (("task", "image_key"), "con"),
    (("task", "image_key"), "a/b"),
    (("task", "image_key"), "ct\n"),
    (("task", "image_name"), "CT\x1b[2J"),
    (("task", "title"), "PET\nx\tbundled"),
    (("task", "unit"), "\u202eUH"),
    (("task", "unit"), "x" * 1000),
]


def refusal_of_metadata(change) -> str:
    """The code with which the bundled model's metadata are refused once they are changed."""
    content = read_metadata(find_bundle(BUNDLED).folder)
    change(content)
    with pytest.raises(BundleError) as refusal:
        checked_metadata(content)
    return refusal.value.code


@pytest.mark.parametrize(("path", "value"), SENSELESS, ids=lambda value: str(value)[:40])
def test_numbers_and_texts_that_no_model_has_are_refused(path, value):
    def change(content):
        place_of(content["upgan"], path)[path[-1]] = value

    assert refusal_of_metadata(change) == "metadata_invalid"


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("version", "1\nbad\tbundled\t9", "metadata_invalid"),
        ("version", "\x1b[31m", "metadata_invalid"),
        ("version", "x" * 65, "metadata_invalid"),
        ("name", "a\n", "metadata_invalid"),
        ("name", "x" * 129, "metadata_invalid"),
        ("name", "con", "bundle_unsafe"),
        ("name", "model.", "bundle_unsafe"),
    ],
)
def test_names_and_versions_are_one_line_that_every_system_can_store(key, value, code):
    assert refusal_of_metadata(lambda content: content.update({key: value})) == code


def test_a_number_beyond_what_json_readers_hold_is_none(tiny_bundle):
    path = tiny_bundle.folder / "configs" / "metadata.json"
    content = path.read_text(encoding="utf-8")
    path.write_text(content.replace('"factor": 1000.0', '"factor": 1e999'), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != content
    assert codes(tiny_bundle.folder) == ["metadata_invalid"]


def test_figures_without_value_are_null_and_earlier_models_that_say_nan_are_read(tiny_bundle):
    figures = {"test": {"psnr": [float("inf"), float("nan")]}}
    edit_metadata(tiny_bundle.folder, lambda content: content["upgan"].update(figures=figures))
    assert "Infinity" in (tiny_bundle.folder / "configs" / "metadata.json").read_text()
    assert Bundle.open(tiny_bundle.folder).metadata.upgan.figures == {"test": {"psnr": [None, None]}}
    section = {"task": tiny_bundle.metadata.upgan.task.model_dump(), "spacing_mm": (2.0, 2.0), "figures": figures}
    metadata = {"name": "other", "version": "1", "description": ""}
    written = write_bundle(tiny_bundle.folder.with_name("other"), tiny_bundle.load_cascade(), metadata, section, "", "")
    assert json.loads(
        (written.folder / "configs" / "metadata.json").read_text(encoding="utf-8"), parse_constant=pytest.fail
    )["upgan"]["figures"] == {"test": {"psnr": [None, None]}}


def nested(depth: int):
    return [nested(depth - 1)] if depth else 0


def test_metadata_nested_deeper_than_any_are_refused(tiny_bundle):
    for depth, found in ((20, []), (40, ["metadata_unreadable"])):
        edit_metadata(tiny_bundle.folder, lambda content, depth=depth: content.update(extra=nested(depth)))
        assert codes(tiny_bundle.folder) == found


def state_with(change):
    """Exchange the weights of a bundle, and its checksum with them: as whoever made it could have."""

    def apply(folder: Path) -> None:
        path = folder / "models" / "model.safetensors"
        state = load_file(path)
        change(state)
        save_file(state, path)
        edit_metadata(folder, lambda content: content["upgan"].update(sha256=checksum(folder)))

    return apply


def checksum(folder: Path) -> dict[str, str]:
    content = (folder / "models" / "model.safetensors").read_bytes()
    return {"models/model.safetensors": hashlib.sha256(content).hexdigest()}


def named(state: dict[str, torch.Tensor], ending: str) -> str:
    return next(name for name in state if name.endswith(ending))


@pytest.mark.parametrize(
    ("ending", "make", "code"),
    [
        ("running_var", lambda tensor: -tensor, "weights_not_finite"),
        ("running_mean", lambda tensor: tensor / 0, "weights_not_finite"),
        ("num_batches_tracked", lambda tensor: tensor - 1, "weights_not_finite"),
        ("weight", lambda tensor: tensor.double(), "weights_mismatch"),
        ("weight", lambda tensor: tensor.to(torch.complex64), "weights_mismatch"),
        ("weight", lambda tensor: tensor.to(torch.float8_e4m3fn), "weights_mismatch"),
        ("weight", lambda tensor: tensor.int(), "weights_mismatch"),
        ("weight", lambda tensor: tensor.flatten(), "weights_mismatch"),
        ("num_batches_tracked", lambda tensor: tensor.float(), "weights_mismatch"),
    ],
)
def test_tensors_are_what_their_layer_needs(tiny_bundle, ending, make, code):
    def change(state):
        name = named(state, ending)
        state[name] = make(state[name])

    state_with(change)(tiny_bundle.folder)
    bundle = Bundle.open(tiny_bundle.folder)
    with pytest.raises(BundleError) as refusal:
        bundle.load_cascade()
    assert refusal.value.code == code


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_weights_in_half_and_single_precision_load(tiny_bundle, dtype):
    def change(state):
        for name, tensor in state.items():
            state[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor

    state_with(change)(tiny_bundle.folder)
    state = Bundle.open(tiny_bundle.folder).load_cascade().state_dict()
    assert {tensor.dtype for tensor in state.values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("kind", ["other tensors", "a long header", "too long a file"])
def test_a_header_of_something_else_is_refused_before_safetensors_reads_it(tiny_bundle, monkeypatch, kind):
    path = tiny_bundle.folder / "models" / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if kind == "too long a file":
        path.write_bytes(content + bytes(4 << 20))
    else:
        many = {f"t{n}": {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]} for n in range(1000)}
        header = json.dumps(many).encode() if kind == "other tensors" else content[8 : 8 + length].ljust((1 << 20) + 8)
        path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    edit_metadata(tiny_bundle.folder, lambda content: content["upgan"].update(sha256=checksum(tiny_bundle.folder)))
    monkeypatch.setattr(weights_module, "load", lambda _: pytest.fail("parsed"))
    with pytest.raises(BundleError) as refusal:
        Bundle.open(tiny_bundle.folder).load_cascade()
    assert refusal.value.code == "weights_mismatch"


def test_weights_that_change_after_they_were_verified_are_noticed(tiny_bundle):
    bundle = Bundle.open(tiny_bundle.folder)
    break_weights(tiny_bundle.folder)
    with pytest.raises(BundleError) as refusal:
        bundle.load_cascade()
    assert refusal.value.code == "checksum_mismatch"


def within(seconds: float, action):
    """What an action returns, which must not wait for what never comes."""
    found = []
    thread = threading.Thread(target=lambda: found.append(action()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it waits"
    return found[0]


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize(
    ("place", "make"),
    [
        ("configs/metadata.json", pipe),
        ("docs/README.md", pipe),
        ("LICENSE", pipe),
        ("models/model.safetensors", pipe),
        ("docs/more.md", listening),
        ("configs/metadata.json", lambda path: path.symlink_to("/dev/zero")),
    ],
)
def test_a_pipe_a_socket_and_a_link_are_refused_at_once_wherever_they_lie(
    tiny_bundle, tmp_path, monkeypatch, place, make
):
    monkeypatch.setenv("UPGAN_MODELS", str(tmp_path / "home"))
    (tmp_path / "home" / "trained").mkdir(parents=True)
    monkeypatch.chdir(tiny_bundle.folder.rename(tmp_path / "home" / "trained" / "x"))  # a socket's path must be short
    Path(place).unlink(missing_ok=True)
    make(Path(place))
    assert within(20, lambda: codes(Path())) == ["bundle_unsafe"]
    *_, listed = within(20, installed_models)
    assert listed.metadata == {}
    assert "not a file" in listed.problem


def test_size_and_number_of_files_are_looked_at_before_anything_is_read(tiny_bundle, monkeypatch):
    monkeypatch.setattr(bundle_module, "_sha256", lambda _: pytest.fail("hashed"))
    with (tiny_bundle.folder / "models" / "model.safetensors").open("r+b") as file:
        file.truncate(5 << 30)  # no byte of which is on the disk
    assert codes(tiny_bundle.folder) == ["bundle_too_large"]
    shutil.rmtree(tiny_bundle.folder / "models")
    for number in range(1001):
        (tiny_bundle.folder / "docs" / f"{number}.md").touch()
    assert codes(tiny_bundle.folder) == ["bundle_too_large"]


def test_a_file_is_hashed_once_however_its_name_is_written(tiny_bundle, monkeypatch):
    hashed = []
    monkeypatch.setattr(bundle_module, "_sha256", lambda path: hashed.append(path) or "0")
    others = {f"{'models/../' * n}models/model.safetensors": "0" for n in range(1, 100)}
    edit_metadata(tiny_bundle.folder, lambda content: content["upgan"]["sha256"].update(others))
    assert set(codes(tiny_bundle.folder)) == {"checksum_mismatch", "weights_missing"}
    assert len(hashed) == 1


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=1)


ELF = b"\x7fELF\x02\x01\x01"


def test_only_the_files_of_a_model_are_in_a_model_whatever_they_hold(tiny_bundle, tmp_path):
    bomb = Bomb(tmp_path / "exploded")
    contents = [pickle.dumps(bomb, 0), pickle.dumps(bomb, 1), packed(pickle.dumps(bomb, 4)), ELF, b"harmless", b""]
    for place in ("weights", "models/weights", "models/extra.safetensors", "configs/inference.json", "a.txt"):
        for content in contents:
            (tiny_bundle.folder / place).write_bytes(content)
            assert codes(tiny_bundle.folder) in (["foreign_file"], ["holds_pickle"])
        (tiny_bundle.folder / place).unlink()
    assert codes(tiny_bundle.folder) == []
    assert not (tmp_path / "exploded").exists()


BESIDE = [
    ("docs/figure.png", b"\x89PNG\r\n\x1a\n", True),
    ("docs/more/photo.JPG", b"\xff\xd8\xff\xe0", True),
    ("docs/data.md", "Größe".encode(), True),
    ("LICENSE", "Universität".encode("latin-1"), True),
    (".DS_Store", b"\0\0\0\1Bud1", True),
    ("docs/figure.png", b"cos\nsystem\n", False),
    ("docs/data.txt", b"\0" * 10, False),
    ("LICENSE", ELF, False),
    ("docs/README.md", packed(b"x"), False),
    ("docs/page.html", b"<script>", False),
]


def test_beside_its_card_a_model_has_pictures_and_texts(tiny_bundle):
    for name, content, allowed in BESIDE:
        path = tiny_bundle.folder / name
        path.parent.mkdir(exist_ok=True)
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(content)
        assert (codes(tiny_bundle.folder) == []) == allowed, name
        path.unlink() if before is None else path.write_bytes(before)


def test_expressions_in_monais_fields_are_not_evaluated(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("UPGAN_MODELS", str(tmp_path / "home"))
    target = tmp_path / "exploded"
    payload = f"__import__('pathlib').Path({str(target)!r}).touch()"
    eval(payload)  # as MONAI evaluated spatial_shape until 1.6.1
    assert target.exists()
    target.unlink()
    for text in (payload, f"${payload}", f"*2**n+({payload} or 1)", f"@{payload}"):
        shape = {"spatial_shape": [text, text], "value_range": [text], "dtype": text, "channel_def": {"0": text}}

        def change(content, text=text, shape=shape):
            content["network_data_format"] = {"inputs": {"image": shape}, "outputs": {"pred": shape}}
            content.update(
                changelog={text: text}, required_packages_version={text: text}, task=text, imports=[f"${text}"]
            )

        edit_metadata(tiny_bundle.folder, change)
        bundle = Bundle.open(tiny_bundle.folder)
        bundle.load_cascade()
        model = find_bundle(str(tiny_bundle.folder))
        assert model.metadata.network_data_format["inputs"]["image"]["spatial_shape"] == [text, text]
        assert not target.exists()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("© Universität σ".encode(), "© Universität σ"),
        ("\ufeffMIT".encode(), "MIT"),
        ("© Universität".encode("latin-1"), "© Universität"),
        (b"\x7fELF\0\0", None),
        (b"x" * (2 << 20), None),
        (None, None),
    ],
)
def test_a_licence_is_read_as_text_or_refused(tmp_path, content, text):
    path = tmp_path / "LICENCE"
    if content is not None:
        path.write_bytes(content)
    elif hasattr(os, "mkfifo"):
        os.mkfifo(path)

    def attempt():
        try:
            return read_licence(path)
        except InputError as error:
            return error.code

    assert within(20, attempt) == (text or "licence_unreadable")


def test_an_existing_folder_is_not_overwritten(tiny_bundle):
    with pytest.raises(OutputError) as refusal:
        write_bundle(tiny_bundle.folder, tiny_bundle.load_cascade(), {}, {}, "", "")
    assert refusal.value.code == "exists"
    assert problems(tiny_bundle.folder) == []


def test_nothing_is_left_when_a_bundle_cannot_be_completed(tiny_bundle):
    folder = tiny_bundle.folder.parent / "half"
    with pytest.raises(ValueError, match="name"):
        write_bundle(folder, tiny_bundle.load_cascade(), {}, {}, "", "")
    assert [path.name for path in tiny_bundle.folder.parent.iterdir()] == ["tiny"]


def test_an_unknown_name_lists_the_bundled_models():
    with pytest.raises(BundleError) as refusal:
        find_bundle("no-such-model")
    assert refusal.value.code == "bundle_not_found"
    assert BUNDLED in refusal.value.remedy


def test_monai_verifies_our_metadata(tiny_bundle, monkeypatch):
    # MONAI fetches the schema by its address; an existing file of that name spares the network.
    from monai.bundle import verify_metadata

    logging.getLogger("monai").setLevel(logging.ERROR)
    schema = Path(__file__).with_name("monai_schema.json")
    for folder in (tiny_bundle.folder, find_bundle(BUNDLED).folder):
        verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(schema))
    edit_metadata(tiny_bundle.folder, lambda content: content.pop("network_data_format"))
    with pytest.raises(ValueError, match="network_data_format"):
        verify_metadata(meta_file=str(tiny_bundle.folder / "configs" / "metadata.json"), filepath=str(schema))


def test_a_plain_install_brings_the_bundled_model(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("upgan-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = f"from upgan.bundles.library import find_bundle; print(find_bundle({BUNDLED!r}).folder)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert Path(found.stdout.strip()).is_relative_to(tmp_path / "site")
