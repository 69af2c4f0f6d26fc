"""The authors' checkpoints: same outputs as their networks, and nothing executed on loading."""

import os
import pickle

import pytest
import torch
from torch.nn import functional as F

from Engine.bomb import Bomb
from upgan.bundles.bundle import Bundle
from upgan.bundles.importing import import_published
from upgan.errors import BundleError, InputError
from upgan.networks.published import PublishedArchitecture, PublishedCascade, load_published_cascade

WIDTH = 64


def published_state(inputs: int, heads: str, prefix: str = "") -> dict[str, torch.Tensor]:
    """Random weights under the names and shapes of the published state dicts."""
    state: dict[str, torch.Tensor] = {}

    def convolution(name: str, out: int, into: int, size: int) -> None:
        state[f"{prefix}{name}.weight"] = torch.randn(out, into, size, size) / (into * size * size) ** 0.5
        state[f"{prefix}{name}.bias"] = 0.1 * torch.randn(out)

    def norm(name: str, channels: int) -> None:
        state[f"{prefix}{name}.weight"] = 1 + 0.2 * torch.randn(channels)
        state[f"{prefix}{name}.bias"] = 0.2 * torch.randn(channels)
        state[f"{prefix}{name}.running_mean"] = 0.2 * torch.randn(channels)
        state[f"{prefix}{name}.running_var"] = 0.5 + torch.rand(channels)
        state[f"{prefix}{name}.num_batches_tracked"] = torch.tensor(7)

    def block(name: str, into: int, out: int, middle: int) -> None:
        for index, (a, b) in enumerate([(into, middle), (middle, middle), (middle, out)]):
            convolution(f"{name}.double_conv.{3 * index}", b, a, 3)
            norm(f"{name}.double_conv.{3 * index + 1}", b)
        convolution(f"{name}.double_conv1.0", out, into, 3)
        norm(f"{name}.double_conv1.1", out)

    block("inc", inputs, 64, 64)
    for level, (a, b) in enumerate([(64, 128), (128, 256), (256, 512), (512, 512)], start=1):
        block(f"down{level}.maxpool_conv.1", a, b, b)
    for level, (a, b) in enumerate([(1024, 256), (512, 128), (256, 64), (128, 64)], start=1):
        block(f"up{level}.conv", a, b, a // 2)
    if heads == "image":
        convolution("outc.conv", inputs, 64, 1)
    else:
        convolution("out_mean.conv", 1, 64, 1)
        for head in ("out_alpha", "out_beta"):
            convolution(f"{head}.0.conv", 128, 64, 1)
            convolution(f"{head}.1.conv", 1, 128, 1)
    return state


class Reference:
    """The published forward pass spelled out with torch's functions on a published state dict."""

    def __init__(self, state: dict[str, torch.Tensor], prefix: str = "") -> None:
        self.state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

    def conv(self, name, x, padding=0):
        return F.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], padding=padding)

    def unit(self, conv, norm, x):
        s = self.state
        x = self.conv(conv, x, padding=1)
        mean, var = s[f"{norm}.running_mean"], s[f"{norm}.running_var"]
        return F.relu(F.batch_norm(x, mean, var, s[f"{norm}.weight"], s[f"{norm}.bias"]))

    def block(self, name, x):
        deep = x
        for index in (0, 3, 6):
            deep = self.unit(f"{name}.double_conv.{index}", f"{name}.double_conv.{index + 1}", deep)
        return deep + self.unit(f"{name}.double_conv1.0", f"{name}.double_conv1.1", x)

    def __call__(self, x):
        skips = [self.block("inc", x)]
        for level in range(1, 5):
            skips.append(self.block(f"down{level}.maxpool_conv.1", F.max_pool2d(skips[-1], 2)))
        y = skips.pop()
        for level in range(1, 5):
            skip = skips.pop()
            y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)
            dy, dx = skip.shape[2] - y.shape[2], skip.shape[3] - y.shape[3]
            y = F.pad(y, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            y = self.block(f"up{level}.conv", torch.cat([skip, y], dim=1))
        if "outc.conv.weight" in self.state:
            return self.conv("outc.conv", y)
        heads = (F.relu(self.conv(f"{h}.1.conv", self.conv(f"{h}.0.conv", y))) for h in ("out_alpha", "out_beta"))
        return self.conv("out_mean.conv", y), *heads


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """State dicts of a published cascade with a chain of two U-Nets in front: (paths, states)."""
    torch.manual_seed(0)
    chain = published_state(1, "image", "unet_list.0.") | published_state(1, "three", "unet_list.1.")
    states = [chain, published_state(4, "three"), published_state(4, "three")]
    folder = tmp_path_factory.mktemp("published")
    paths = [folder / f"phase_{index}.pth" for index in range(3)]
    for path, state in zip(paths, states, strict=True):
        torch.save(state, path)
    return paths, states


@pytest.mark.parametrize("size", [(64, 48), (50, 37)])
def test_each_phase_gives_what_the_published_networks_give(checkpoints, size):
    paths, states = checkpoints
    a = torch.rand(2, 1, *size)
    with torch.inference_mode():
        x = Reference(states[0], "unet_list.0.")(a)
        expected = [Reference(states[0], "unet_list.1.")(x + a)]
        for state in states[1:]:
            expected.append(Reference(state)(torch.cat([*expected[-1], a], dim=1)))
        ours = load_published_cascade(paths)(a)
    assert len(ours) == 3
    for prediction, (mean, inverse_scale, concentration) in zip(ours, expected, strict=True):
        torch.testing.assert_close(prediction.loc, mean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(1 / prediction.scale, inverse_scale + 1e-5, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(prediction.concentration, concentration + 0.1, atol=1e-4, rtol=1e-4)


def test_a_first_generator_without_a_chain_loads_too(checkpoints, tmp_path):
    paths, states = checkpoints
    single = {k.removeprefix("unet_list.1."): v for k, v in states[0].items() if k.startswith("unet_list.1.")}
    torch.save({f"unet_list.0.{name}": tensor for name, tensor in single.items()}, tmp_path / "one.pth")
    torch.save(single, tmp_path / "bare.pth")
    a = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        one = load_published_cascade([tmp_path / "one.pth", paths[1]])(a)
        bare = load_published_cascade([tmp_path / "bare.pth", paths[1]])(a)
    torch.testing.assert_close(one[1].loc, bare[1].loc)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    bomb = tmp_path / "bomb.pth"
    torch.save({"weights": Bomb(tmp_path / "exploded")}, bomb)
    raw = tmp_path / "raw.pth"
    raw.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    for path in (bomb, raw):
        with pytest.raises(BundleError) as refusal:
            load_published_cascade([path])
        assert refusal.value.code == "checkpoint_unsafe"
    assert not (tmp_path / "exploded").exists()


FIRST = "inc.double_conv.0.weight"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"encoder.weight": torch.zeros(1)}, "checkpoint_unknown"),
        ({FIRST: torch.tensor(1.0)}, "checkpoint_unknown"),
        ({FIRST: torch.zeros(10**5, 1)}, "checkpoint_unknown"),
        ({FIRST: torch.zeros(64, 1, 3, 3).to_sparse()}, "checkpoint_unknown"),
        ({FIRST: torch.zeros(2), "unet_list.99999999999.inc": torch.zeros(1)}, "checkpoint_unknown"),
        ({FIRST: torch.zeros(2), 5: torch.zeros(1)}, "checkpoint_unknown"),
        (torch.zeros(1), "checkpoint_unknown"),
        (b"not a checkpoint", "checkpoint_un"),
        (None, "checkpoint_unreadable"),
    ],
)
def test_files_of_something_else_are_refused_by_name(tmp_path, content, code):
    path = tmp_path / "other.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(BundleError) as refusal:
        load_published_cascade([path])
    assert refusal.value.code.startswith(code)
    assert "other.pth" in refusal.value.sentence


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "g.pth")
    with pytest.raises(BundleError) as refusal:
        load_published_cascade([tmp_path / "g.pth"])
    assert refusal.value.code == "checkpoint_unreadable"


def test_negative_variances_are_refused_on_import(tmp_path):
    generator = PublishedCascade(PublishedArchitecture(chains=(1,), width=1)).generators[0]
    state = {f"unet_list.{name}": tensor for name, tensor in generator.state_dict().items()}
    torch.save(state, tmp_path / "good.pth")
    load_published_cascade([tmp_path / "good.pth"])
    next(tensor for name, tensor in state.items() if name.endswith("running_var")).neg_()
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(BundleError) as refusal:
        load_published_cascade([tmp_path / "bad.pth"])
    assert refusal.value.code == "weights_not_finite"
    assert "bad.pth" in refusal.value.sentence


@pytest.mark.parametrize(
    ("name", "suggested"),
    [("My Model", "My-Model"), ("Größe 1/2".replace("/", ":"), "Groe-1-2"), ("con", "con-model"), ("σ", "my-model")],
)
def test_a_name_that_no_model_may_have_is_refused_with_one_that_it_may(tmp_path, name, suggested):
    with pytest.raises(InputError) as refusal:
        import_published([tmp_path / "none.pth"], tmp_path / name, "pet_to_ct", "axial", (2.0, 2.0))
    assert refusal.value.code == "bad_name"
    assert f"example {suggested}." in refusal.value.remedy
    with pytest.raises(BundleError) as refusal:  # and only the checkpoint is amiss
        import_published([tmp_path / "none.pth"], tmp_path / suggested, "pet_to_ct", "axial", (2.0, 2.0))
    assert refusal.value.code == "checkpoint_unreadable"


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf"), 1e300, 1e-300])
def test_a_spacing_that_no_slices_have_is_refused(tmp_path, step):
    for spacing in ((step, 2.0), (2.0, step)):
        with pytest.raises(InputError) as refusal:
            import_published([tmp_path / "none.pth"], tmp_path / "model", "pet_to_ct", "axial", spacing)
        assert refusal.value.code == "absurd_spacing"


def test_an_imported_cascade_is_a_bundle_that_verifies_and_loads(checkpoints, tmp_path):
    bundle = import_published(checkpoints[0][:2], tmp_path / "imported", "pet_to_ct", "axial", (2.0, 2.0))
    assert Bundle.open(bundle.folder).metadata.upgan.architecture.chains == (2, 1)
    a = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        expected = load_published_cascade(checkpoints[0][:2])(a)[1].loc
        torch.testing.assert_close(bundle.load_cascade()(a)[1].loc, expected, atol=0.02, rtol=0.01)  # half precision
