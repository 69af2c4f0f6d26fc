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
from upgan.networks.published import PublishedArchitecture, PublishedCascade
from upgan.networks.unet import Generator, ResidualUNet


@pytest.mark.parametrize("size", [(16, 16), (112, 96), (37, 50)])
def test_the_unet_keeps_the_size_of_any_slice(size):
    assert ResidualUNet(1, 2).eval()(torch.zeros(1, 1, *size)).shape == (1, 2, *size)


def test_a_full_width_cascade_has_as_many_parameters_as_the_published_u_nets():
    # The published later generators have 33 M parameters each, most of them in the body.
    body = ResidualUNet(4, 64)
    assert sum(p.numel() for p in body.parameters()) == pytest.approx(33e6, rel=0.02)


def test_a_new_generator_answers_plainly():
    prediction, _ = Generator(1, CascadeArchitecture(width=2))(torch.randn(2, 1, 32, 32))
    assert not prediction.loc.any()
    torch.testing.assert_close(prediction.scale, torch.full((2, 1, 32, 32), 0.11), atol=1e-5, rtol=0)
    torch.testing.assert_close(prediction.concentration, torch.full((2, 1, 32, 32), 1.5), atol=1e-5, rtol=0)


def test_alpha_and_beta_stay_in_their_ranges_whatever_the_features():
    generator = Generator(1, CascadeArchitecture(width=2, concentration_range=(0.3, 8.0), scale_floor=0.01))
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(0).add_(torch.randn_like(parameter) * 30)
    prediction, _ = generator(torch.randn(4, 1, 32, 32) * 100)
    assert float(prediction.scale.min()) >= 0.01 - 1e-7
    assert float(prediction.concentration.min()) >= 0.3 - 1e-6
    assert float(prediction.concentration.max()) <= 8.0 + 1e-6


def test_the_guidance_is_equation_3_times_the_number_of_pixels():
    rng = np.random.default_rng(0)
    alpha, beta = rng.uniform(0.1, 2, (1, 1, 6, 5)), rng.uniform(0.5, 4, (1, 1, 6, 5))
    sigma = stats.gennorm(beta, 0, alpha).std()
    expected = 6 * 5 * sigma / sigma.sum()
    np.testing.assert_allclose(attention(torch.from_numpy(sigma)), expected, rtol=1e-6)


def seen_by_the_second_phase(a, **settings):
    """Return what a second generator is given, what the first and it predict, and what the first's body computed."""
    cascade = seasoned(Cascade(CascadeArchitecture(phases=2, width=2, **settings)))
    seen, features = [], []
    cascade.generators[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    cascade.generators[0].body.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    first, second = cascade(a)
    (x, previous), *_ = seen
    return x, previous, first, second, features[0]


def sigma_of(prediction):
    law = stats.gennorm(prediction.concentration.detach(), 0, prediction.scale.detach())
    return torch.from_numpy(law.std()).float()


def test_a_later_generator_sees_guidance_and_image_and_corrects_its_predecessor():
    a = torch.rand(2, 1, 32, 32)
    x, previous, first, second, _ = seen_by_the_second_phase(a, hand_over="product", sigma_mean="slice")
    sigma = sigma_of(first)
    f = first.loc * sigma / sigma.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(x, torch.cat([f, a], dim=1), rtol=1e-4, atol=1e-5)
    assert previous is first.loc
    assert float((second.loc - first.loc).abs().max()) > 0


def test_image_and_sigma_are_handed_on_side_by_side_sigma_over_its_mean_where_the_input_is_bright():
    a = torch.zeros(1, 1, 32, 32)
    a[..., 8:24, 8:20] = 1
    x, _, first, _, _ = seen_by_the_second_phase(a, hand_over="image+sigma")
    sigma = sigma_of(first)
    relative = sigma / sigma[..., 8:24, 8:20].mean()
    torch.testing.assert_close(x, torch.cat([first.loc, relative, a], dim=1), rtol=1e-4, atol=1e-5)


def test_air_around_does_not_change_the_mean_that_sigma_is_divided_by():
    sigma, a = torch.rand(1, 1, 16, 16) + 0.1, torch.rand(1, 1, 16, 16)
    around = nn.functional.pad
    alone = attention(sigma, a.square())
    wide = attention(around(sigma, [40] * 4, value=3.0), around(a, [40] * 4).square())[..., 40:-40, 40:-40]
    torch.testing.assert_close(wide, alone)


@pytest.mark.parametrize("weight", [None, torch.zeros(1, 1, 16, 16)], ids=["none", "nothing weighs"])
def test_sigma_of_an_empty_slice_is_divided_by_its_plain_mean(weight):
    sigma = torch.rand(1, 1, 16, 16) + 0.1
    torch.testing.assert_close(attention(sigma, weight), sigma / sigma.mean())


def test_features_of_the_phase_before_are_handed_on_too():
    a = torch.rand(1, 1, 32, 32)
    x, _, first, _, features = seen_by_the_second_phase(a, hand_over="image", features=True)
    torch.testing.assert_close(x, torch.cat([first.loc, features, a], dim=1))


def test_the_image_itself_is_handed_on_where_nothing_else_is():
    x, _, first, _, _ = seen_by_the_second_phase(torch.rand(1, 1, 32, 32), hand_over="image")
    torch.testing.assert_close(x[:, :1], first.loc)
    assert x.shape[1] == 2


def test_a_phase_that_predicts_anew_is_given_no_image_to_correct():
    _, previous, *_ = seen_by_the_second_phase(torch.rand(1, 1, 32, 32), residual=False)
    assert previous is None


@pytest.mark.parametrize(
    "network",
    [
        Cascade(CascadeArchitecture(width=2, hand_over="image")),
        Cascade(CascadeArchitecture(width=2, hand_over="image+sigma", features=True)),
        Cascade(CascadeArchitecture(width=2, hand_over="product")),
        Cascade(CascadeArchitecture(width=2, hand_over="product", residual=False, features=True)),
        PublishedCascade(PublishedArchitecture(chains=(2, 1, 1), width=2)),
    ],
)
def test_a_later_phase_alone_gives_the_same_from_what_it_was_handed_on(network):
    a = torch.rand(2, 1, 32, 32)
    given = seasoned(network).handed_on(a, 2)
    assert given.shape == (2, network.handed_on_channels, 32, 32)
    # Those before it would give something else by now: they are not asked.
    nn.init.zeros_(next(network.generators[0].parameters()))
    (alone,) = network(a, 3, given)
    expected = seasoned(network)(a)[2]
    for name in ("loc", "scale", "concentration"):
        assert torch.equal(getattr(alone, name), getattr(expected, name))


@pytest.mark.parametrize("size", [(16, 16), (112, 96), (37, 50)])
def test_a_coarse_first_phase_looks_at_means_of_four_pixels_and_answers_for_each(size):
    cascade = seasoned(Cascade(CascadeArchitecture(phases=2, width=2, hand_over="image", coarse_first=True)))
    sides = []
    for generator in cascade.generators:
        generator.body.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape[-1]))
    first, second = cascade(torch.rand(1, 1, *size))
    assert first.loc.shape == second.loc.shape == (1, 1, *size)
    assert sides == [max(size[1] // 2, 16), size[1]]


@pytest.mark.parametrize("hand_over", ["image", "image+sigma", "product"])
def test_a_phase_that_begins_as_its_predecessor_sees_what_that_saw_and_corrects_nothing(hand_over):
    cascade = seasoned(Cascade(CascadeArchitecture(phases=3, width=2, hand_over=hand_over)))
    for phase in (1, 2):
        cascade.begin_as_predecessor(phase)
    a = torch.rand(1, 1, 32, 32)
    first, second, third = cascade(a)
    torch.testing.assert_close(second.loc, first.loc)
    torch.testing.assert_close(third.loc, first.loc)
    # Its body looks at the input alone, as the first one's does, so that α and β come out the same.
    torch.testing.assert_close(second.scale, first.scale)
    torch.testing.assert_close(third.concentration, first.concentration)


def test_a_phase_that_predicts_anew_begins_with_its_predecessors_image():
    cascade = seasoned(Cascade(CascadeArchitecture(phases=2, width=2, hand_over="image", residual=False)))
    cascade.begin_as_predecessor(1)
    first, second = cascade(torch.rand(1, 1, 32, 32))
    torch.testing.assert_close(second.loc, first.loc)


@pytest.mark.parametrize(("attention", "hand_over"), [(True, "product"), (False, "image")])
def test_models_of_format_1_hang_together_as_they_did(attention, hand_over):
    former = CascadeArchitecture.model_validate({"name": "up-gan", "phases": 3, "width": 16, "attention": attention})
    assert (former.hand_over, former.sigma_mean, former.align_corners) == (hand_over, "slice", True)
    assert (former.features, former.residual, former.coarse_first, former.margin_mm) == (False, True, False, None)


@pytest.mark.parametrize("attention", ["yes", 1, None])
def test_attention_of_format_1_is_true_or_false(attention):
    with pytest.raises(ValueError, match="attention must be true or false"):
        CascadeArchitecture.model_validate({"attention": attention})


def test_a_restoration_starts_from_its_input():
    a = torch.rand(2, 1, 32, 32)
    untrained = Cascade(CascadeArchitecture(phases=2, width=2, from_input=True)).eval()
    for prediction in untrained(a):
        torch.testing.assert_close(prediction.loc, a, rtol=0, atol=0)
    cascade = seasoned(Cascade(CascadeArchitecture(phases=1, width=2, from_input=True)))
    (corrected,) = cascade(a)
    correction, _ = cascade.generators[0](a)
    torch.testing.assert_close(corrected.loc, a + correction.loc)
    torch.testing.assert_close(corrected.scale, correction.scale)


def test_a_new_phase_starts_as_good_as_the_one_before():
    cascade = seasoned(Cascade(CascadeArchitecture(phases=2, width=2)))
    cascade.generators[1] = Generator(2, cascade.architecture).eval()
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
