"""Aberrations of the microscope beyond defocus, astigmatism and spherical aberration.

They are phases of the transform of an image, sums of Zernike polynomials of the spatial
frequency (Zivanov, Nakane & Scheres, IUCrJ 7, 253-267, 2020). Those of odd degree (beam tilt,
trefoil) change sign from k to −k: they multiply the transform by exp(iφ) and are removed from
it. Those of even degree (tetrafoil, errors of Cs and defocus) are added to the CTF's phase.

The polynomials and their order are RELION's, as its manual documents them ("Conventions"):
without the factors of the norm, the radius being the spatial frequency in 1/Å, so that
coefficients of degree n are in radians Å^n and of lower powers; Z(n, m) = R(n, |m|) cos mα for
m ≥ 0 and R(n, |m|) sin |m|α for m < 0, α the angle from the x axis towards y.
"""

from math import factorial

import torch
from jaxtyping import Float
from torch import Tensor


def zernike_orders(count: int, *, is_odd: bool) -> list[tuple[int, int]]:
    """Degree n and order m of the first polynomials, in the order of their coefficients.

    Odd: (1, −1), (1, 1), (3, −3), (3, −1), (3, 1), (3, 3), …; even: (0, 0), (2, −2), (2, 0),
    (2, 2), (4, −4), ….
    """
    orders: list[tuple[int, int]] = []
    degree = int(is_odd)
    while len(orders) < count:
        orders += [(degree, order) for order in range(-degree, degree + 1, 2)]
        degree += 2
    return orders[:count]


def radial_coefficients(degree: int, order: int) -> dict[int, int]:
    """Coefficients of the radial polynomial R(n, m) by power of the radius.

    Born & Wolf, Principles of Optics, section 9.2.1.
    """
    half_sum, half_difference = (degree + order) // 2, (degree - order) // 2
    return {
        degree - 2 * s: (-1) ** s
        * factorial(degree - s)
        // (factorial(s) * factorial(half_sum - s) * factorial(half_difference - s))
        for s in range(half_difference + 1)
    }


def zernike_phases(
    frequencies: Float[Tensor, "#batch points 2"],
    coefficients: Float[Tensor, "batch count"],
    *,
    is_odd: bool,
) -> Float[Tensor, "batch points"]:
    """Phases in radians of aberrations at spatial frequencies.

    Args:
        frequencies: (kx, ky) in 1/Å.
        coefficients: Of every image, in the order of :func:`zernike_orders`.
        is_odd: Whether they belong to the polynomials of odd degree.
    """
    kx, ky = frequencies.unbind(-1)
    squared = kx.square() + ky.square()
    # With |k|^m cos mα and |k|^m sin mα from the powers of kx + i ky, what is left of each
    # polynomial is one in k², whose coefficients are added up over the degrees.
    radial: dict[int, dict[int, Tensor]] = {}
    orders = zernike_orders(coefficients.shape[1], is_odd=is_odd)
    for column, (degree, order) in enumerate(orders):
        powers = radial.setdefault(order, {})
        for power, factor in radial_coefficients(degree, abs(order)).items():
            place = (power - abs(order)) // 2
            powers[place] = powers.get(place, 0) + factor * coefficients[:, column, None]
    phases = frequencies.new_zeros(len(coefficients), frequencies.shape[1])
    cosine, sine = torch.ones_like(kx), torch.zeros_like(kx)
    highest = orders[-1][0] if orders else -1
    for order in range(highest + 1):
        if order in radial:
            phases = phases + cosine * _polynomial(radial[order], squared)
        if order and -order in radial:
            phases = phases + sine * _polynomial(radial[-order], squared)
        cosine, sine = cosine * kx - sine * ky, cosine * ky + sine * kx
    return phases


def _polynomial(powers: dict[int, Tensor], argument: Tensor) -> Tensor:
    """Sum of coefficients times powers of the argument."""
    result = torch.zeros_like(argument)
    for power in range(max(powers), -1, -1):
        result = result * argument + powers.get(power, 0)
    return result


def without_phases(
    values: Float[Tensor, "batch points 2"], phases: Float[Tensor, "batch points"]
) -> Float[Tensor, "batch points 2"]:
    """Transforms times exp(−iφ), as pairs of real and imaginary part."""
    cosine, sine = phases.cos(), phases.sin()
    real, imaginary = values.unbind(-1)
    return torch.stack(
        [real * cosine + imaginary * sine, imaginary * cosine - real * sine], dim=-1
    )
