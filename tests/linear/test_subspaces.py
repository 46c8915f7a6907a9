from dataclasses import replace

import pytest
import torch

from cryodrgn.imaging.linear_posterior import Posterior
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.linear.halves import agreement, agreement_on, prior_from
from cryodrgn.linear.iteration import canonicalise
from cryodrgn.linear.masks import molecule_mask
from cryodrgn.linear.maximisation import Solution
from cryodrgn.linear.subspace import Subspace, grid_size
from cryodrgn.reconstruction.local_quality import local_resolution, standard_error

BOX, RADIUS = 16, 6
SIZE = grid_size(RADIUS, BOX)


def smooth_noise(count, seed, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfftn(
        torch.randn(count, size, size, size, generator=generator), dim=(1, 2, 3)
    )
    axis = torch.fft.fftfreq(size, 1 / size).square()
    radii = (axis[:, None, None] + axis[:, None] + axis[: size // 2 + 1]).sqrt()
    return torch.fft.irfftn(spectrum * (radii <= RADIUS), s=(size,) * 3, dim=(1, 2, 3))


def subspace(volumes):
    prior = torch.ones(len(volumes), RADIUS + 2)
    return Subspace(volumes=volumes, prior=prior, radius=RADIUS)


def test_halves_that_see_the_same_agree_whatever_their_frame():
    volumes = smooth_noise(4, seed=0)
    angle = torch.tensor(0.7)
    turned = volumes.clone()
    turned[1] = angle.cos() * volumes[1] - angle.sin() * volumes[2]
    turned[2] = angle.sin() * volumes[1] + angle.cos() * volumes[2]
    turned[3] *= -1
    found = agreement(subspace(volumes), subspace(turned), torch.ones(RADIUS + 2))
    assert found.is_signal.all()
    torch.testing.assert_close(found.correlation, torch.ones(3), atol=1e-4, rtol=0.0)
    # The joint components span what the halves span, and vary as much.
    flat = volumes[1:].flatten(1)
    covariance = found.joint.volumes[1:].flatten(1)
    torch.testing.assert_close(
        covariance.T @ covariance,
        flat.T @ flat,
        atol=1e-3 * float(flat.square().max()),
        rtol=1e-3,
    )


def test_halves_render_a_turned_frame_turned():
    shared, noise = smooth_noise(4, seed=0), smooth_noise(8, seed=1)
    pair = subspace(shared + 0.3 * noise[:4]), subspace(shared + 0.3 * noise[4:])
    found = agreement(*pair, torch.ones(RADIUS + 2))
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)))

    def turned(volumes):
        return torch.cat([volumes[:1], torch.tensordot(turn, volumes[1:], dims=1)])

    again = agreement_on(turned(found.joint.volumes), *pair, torch.ones(RADIUS + 2))
    for half, expected in zip(again.halves, found.halves, strict=True):
        torch.testing.assert_close(half.volumes, turned(expected.volumes), atol=1e-4, rtol=1e-4)


def test_halves_that_see_different_noise_have_no_signal():
    first, second = smooth_noise(4, seed=0), smooth_noise(4, seed=1)
    second[0] = first[0]
    found = agreement(subspace(first), subspace(second), torch.ones(RADIUS + 2))
    assert not found.is_signal.any()
    assert found.fsc[0, 1:-1].min() > 0.999


def test_signal_and_noise_give_their_correlation_and_back():
    fsc = torch.tensor([[0.2, 0.5, 0.8]])
    noise = torch.tensor([1.0, 2.0, 3.0])
    signal = prior_from(fsc, noise)
    torch.testing.assert_close(signal / (signal + noise), fsc)


def test_standardised_latents_leave_every_image_as_it_was():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(500, 2, generator=generator) @ torch.tensor([[2.0, 0.5], [0.0, 0.3]])
    latents += torch.tensor([1.0, -2.0])
    volumes = smooth_noise(3, seed=2)
    ones = torch.ones(500)
    posterior = Posterior(
        mean=latents, covariance=torch.zeros(500, 2, 2), contrast=ones, contrast_square=ones
    )
    solution = Solution(
        volumes=volumes, covariance=torch.zeros(RADIUS + 2, 3, 3), noise=torch.ones(RADIUS + 2)
    )
    found = canonicalise(solution, posterior, torch.ones(3, SIZE, SIZE, SIZE), RADIUS)
    before = volumes[0] + torch.tensordot(latents, volumes[1:], dims=1)
    components = found.volumes[1:].flatten(1)
    projected = (before - found.volumes[0]).flatten(1) @ torch.linalg.pinv(components)
    after = found.volumes[0] + (projected @ components).view_as(before)
    torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(projected.T @ projected / 500, torch.eye(2), atol=1e-3, rtol=0.0)
    gram = components @ components.T
    assert gram[0, 1].abs() < 1e-3 * gram[0, 0]
    assert gram[0, 0] > gram[1, 1]


def test_contrasts_are_1_in_the_middle_and_products_with_volumes_stay():
    volumes = smooth_noise(3, seed=1)
    solution = Solution(
        volumes=volumes, covariance=torch.zeros(RADIUS + 2, 3, 3), noise=torch.ones(RADIUS + 2)
    )
    generator = torch.Generator().manual_seed(3)
    posterior = Posterior(
        mean=torch.randn(500, 2, generator=generator),
        covariance=torch.zeros(500, 2, 2),
        contrast=torch.full((500,), 0.7),
        contrast_square=torch.full((500,), 0.49),
    )
    ones = replace(posterior, contrast=torch.ones(500), contrast_square=torch.ones(500))
    masks = torch.ones(3, SIZE, SIZE, SIZE)
    scaled, plain = (canonicalise(solution, of, masks, RADIUS) for of in (posterior, ones))
    torch.testing.assert_close(scaled.volumes, 0.7 * plain.volumes)
    torch.testing.assert_close(scaled.prior, 0.49 * plain.prior, rtol=1e-4, atol=1e-4)


def test_growing_keeps_the_transform():
    small = subspace(smooth_noise(2, seed=3))
    large = small.grown(7, 32)
    assert large.volumes.shape[-1] == grid_size(7, 32)
    torch.testing.assert_close(
        large.power()[:, : RADIUS - 1] / small.power()[:, : RADIUS - 1],
        torch.ones(2, RADIUS - 1),
        atol=0.1,
        rtol=0.0,
    )


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_mask_covers_the_molecule_whatever_its_sign(sign):
    volume = torch.zeros(32, 32, 32)
    volume[12:20, 12:20, 10:22] = sign
    mask = molecule_mask(torch.stack([volume, 0 * volume]), 32)
    assert (mask[volume != 0] > 0.99).all()
    assert mask[0, 0, 0] == 0
    assert mask.mean() < 0.4
    assert resize_mask(mask, 16).shape == (16, 16, 16)


def test_standard_error_is_that_of_the_mean_of_two():
    generator = torch.Generator().manual_seed(0)
    first, second = 3 * torch.randn(2, 32, 32, 32, generator=generator)
    found = standard_error(first, second)
    torch.testing.assert_close(found.mean(), torch.tensor(3 / 2**0.5), atol=0.05, rtol=0.0)


def test_local_resolution_is_finer_where_the_half_maps_agree():
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(48, 48, 48, generator=generator)
    noise = 2 * torch.randn(2, 48, 48, 48, generator=generator)
    noise[..., :24] *= 0.01
    found = local_resolution(signal + noise[0], signal + noise[1], 2.0)
    assert found[..., 8:16].mean() < 6
    assert found[..., 32:40].mean() > 20
