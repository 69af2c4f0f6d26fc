"""The networks' shapes, Eq. 3 and 4, and the folding of batch norms."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from Engine.conftest import seasoned
from upgan.networks.cascade import Cascade, CascadeArchitecture, attention
from upgan.networks.folding import fold_batch_norm
from upgan.networks.patchgan import PatchDiscriminator
from upgan.networks.unet import Generator, ResidualUNet


@pytest.mark.parametrize("size", [(16, 16), (112, 96), (37, 50)])
def test_the_unet_keeps_the_size_of_any_slice(size):
    assert ResidualUNet(1, 2).eval()(torch.zeros(1, 1, *size)).shape == (1, 2, *size)


def test_a_full_width_cascade_has_as_many_parameters_as_the_published_u_nets():
    # The published later generators have 33 M parameters each, most of them in the body.
    body = ResidualUNet(4, 64)
    assert sum(p.numel() for p in body.parameters()) == pytest.approx(33e6, rel=0.02)


def test_a_new_generator_answers_plainly():
    prediction = Generator(1, 2)(torch.randn(2, 1, 32, 32))
    assert not prediction.loc.any()
    torch.testing.assert_close(prediction.scale, torch.full((2, 1, 32, 32), 0.11), atol=1e-5, rtol=0)
    torch.testing.assert_close(prediction.concentration, torch.full((2, 1, 32, 32), 1.5), atol=1e-5, rtol=0)


def test_alpha_and_beta_stay_in_their_ranges_whatever_the_features():
    generator = Generator(1, 2, concentration_range=(0.3, 8.0), scale_floor=0.01)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(0).add_(torch.randn_like(parameter) * 30)
    prediction = generator(torch.randn(4, 1, 32, 32) * 100)
    assert float(prediction.scale.min()) >= 0.01 - 1e-7
    assert float(prediction.concentration.min()) >= 0.3 - 1e-6
    assert float(prediction.concentration.max()) <= 8.0 + 1e-6


def test_the_guidance_is_equation_3_times_the_number_of_pixels():
    rng = np.random.default_rng(0)
    alpha, beta = rng.uniform(0.1, 2, (1, 1, 6, 5)), rng.uniform(0.5, 4, (1, 1, 6, 5))
    sigma = stats.gennorm(beta, 0, alpha).std()
    expected = 6 * 5 * sigma / sigma.sum()
    np.testing.assert_allclose(attention(torch.from_numpy(sigma)), expected, rtol=1e-6)


def test_a_later_generator_sees_guidance_and_image_and_corrects_its_predecessor():
    cascade = seasoned(Cascade(CascadeArchitecture(phases=2, width=2)))
    seen = []
    cascade.generators[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    a = torch.rand(2, 1, 32, 32)
    first, second = cascade(a)
    (x, previous), *_ = seen
    sigma = torch.from_numpy(stats.gennorm(first.concentration.detach(), 0, first.scale.detach()).std()).float()
    f = first.loc * sigma / sigma.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(x, torch.cat([f, a], dim=1), rtol=1e-4, atol=1e-5)
    assert previous is first.loc
    assert float((second.loc - first.loc).abs().max()) > 0


def test_without_attention_the_image_itself_is_handed_on():
    cascade = seasoned(Cascade(CascadeArchitecture(phases=2, width=2, attention=False)))
    seen = []
    cascade.generators[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    first, _ = cascade(torch.rand(1, 1, 32, 32))
    torch.testing.assert_close(seen[0][:, :1], first.loc)


def test_a_new_phase_starts_as_good_as_the_one_before():
    cascade = seasoned(Cascade(CascadeArchitecture(phases=2, width=2)))
    cascade.generators[1] = Generator(2, 2).eval()
    first, second = cascade(torch.rand(1, 1, 32, 32))
    torch.testing.assert_close(second.loc, first.loc)


def test_only_the_phases_asked_for_are_computed():
    cascade = Cascade(CascadeArchitecture(phases=3, width=2)).eval()
    cascade.generators[2].register_forward_pre_hook(lambda *_: pytest.fail("third phase was run"))
    assert len(cascade(torch.rand(1, 1, 16, 16), count=2)) == 2


def test_every_branch_is_computed_once():
    cascade = Cascade(CascadeArchitecture(phases=1, width=2)).eval()
    calls: dict[nn.Module, int] = {}
    convolutions = [module for module in cascade.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        module.register_forward_hook(lambda module, *_: calls.__setitem__(module, calls.get(module, 0) + 1))
    cascade(torch.rand(1, 1, 16, 16))
    assert {calls[module] for module in convolutions} == {1}


def test_folding_batch_norms_changes_no_number():
    cascade = seasoned(Cascade(CascadeArchitecture(phases=2, width=4)))
    folded = fold_batch_norm(cascade)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in cascade.modules())
    a = torch.rand(2, 1, 48, 32)
    for ours, theirs in zip(folded(a), cascade(a), strict=True):
        for name in ("loc", "scale", "concentration"):
            expected = getattr(theirs, name)
            torch.testing.assert_close(getattr(ours, name), expected, rtol=0, atol=1e-3 * float(expected.std()))


@pytest.mark.parametrize(("layers", "patch"), [(3, 70), (4, 142)])
def test_the_discriminator_judges_patches_of_the_stated_size(layers, patch):
    discriminator = PatchDiscriminator(width=2, layers=layers).eval()
    image = torch.zeros(1, 1, 256, 256, requires_grad=True)
    scores = discriminator(image)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    rows = image.grad[0, 0].abs().sum(dim=1).nonzero()
    assert int(rows.max() - rows.min()) + 1 <= patch
    field = 1
    for stride in reversed([2] * layers + [1, 1]):
        field = (field - 1) * stride + 4
    assert field == patch
