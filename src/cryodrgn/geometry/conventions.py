"""Angles and shifts of other programs: every sign flip of the program stands here."""

import numpy as np
from jaxtyping import Float


def matrices_from_relion_angles(
    angles_deg: Float[np.ndarray, "particles 3"],
) -> Float[np.ndarray, "particles 3 3"]:
    """Rotation matrices of RELION's angles (rot α, tilt β, psi γ).

    R = Rz(−γ) Y(β) Rz(−α) with Rz(a) = [[cos a, −sin a, 0], [sin a, cos a, 0], [0, 0, 1]] and
    Y(b) = [[cos b, 0, −sin b], [0, 1, 0], [sin b, 0, cos b]]: the matrix RELION calls A, and
    the transpose of the intrinsic ZYZ rotation by (α, β, γ).

    Args:
        angles_deg: Columns ``rlnAngleRot``, ``rlnAngleTilt``, ``rlnAnglePsi``, in degrees.
    """
    alpha, beta, gamma = np.deg2rad(np.asarray(angles_deg, dtype=np.float64)).T
    ca, cb, cg = np.cos(alpha), np.cos(beta), np.cos(gamma)
    sa, sb, sg = np.sin(alpha), np.sin(beta), np.sin(gamma)
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def relion_angles_from_matrices(
    rotations: Float[np.ndarray, "particles 3 3"],
) -> Float[np.ndarray, "particles 3"]:
    """Angles (rot, tilt, psi) in degrees; inverse of :func:`matrices_from_relion_angles`.

    The tilt lies in [0°, 180°]. At its ends only rot ± psi is determined, and rot is set to 0.
    """
    matrices = np.asarray(rotations, dtype=np.float64)
    sine = np.hypot(matrices[:, 2, 0], matrices[:, 2, 1])
    tilt = np.arctan2(sine, matrices[:, 2, 2])
    degenerate = sine < 1e-6

    rot = np.where(degenerate, 0.0, np.arctan2(matrices[:, 2, 1], matrices[:, 2, 0]))
    psi = np.where(
        degenerate,
        np.arctan2(-matrices[:, 1, 0] * np.sign(matrices[:, 2, 2]), matrices[:, 1, 1]),
        np.arctan2(matrices[:, 1, 2], -matrices[:, 0, 2]),
    )
    return np.rad2deg(np.stack([rot, tilt, psi], axis=-1))


def matrices_from_tilts(
    angles_deg: Float[np.ndarray, "tilts 3"],
) -> Float[np.ndarray, "tilts 3 3"]:
    """Rotations from the frame of a tomogram to those of its tilt images, in RELION 5.

    T = Rz(c) Ry(b) Rx(a), each turning a vector right-handed about its axis.

    Args:
        angles_deg: Columns ``rlnTomoXTilt`` a, ``rlnTomoYTilt`` b and ``rlnTomoZRot`` c.
    """
    cosines, sines = np.cos(np.deg2rad(angles_deg)), np.sin(np.deg2rad(angles_deg))
    turns = np.tile(np.eye(3), (3, len(angles_deg), 1, 1))
    for axis, (first, second) in enumerate(((1, 2), (2, 0), (0, 1))):
        turns[axis, :, first, first] = turns[axis, :, second, second] = cosines[:, axis]
        turns[axis, :, second, first] = sines[:, axis]
        turns[axis, :, first, second] = -sines[:, axis]
    return turns[2] @ turns[1] @ turns[0]


def matrices_from_cryosparc_poses(
    rotation_vectors: Float[np.ndarray, "particles 3"],
) -> Float[np.ndarray, "particles 3 3"]:
    """Rotation matrices of cryoSPARC's ``alignments3D/pose``.

    R is the transpose of exp([v]×), by Rodrigues' formula
    exp([v]×) = 1 + sin θ/θ [v]× + (1 − cos θ)/θ² [v]×², θ = |v|.

    Args:
        rotation_vectors: Axis times angle, in radians.
    """
    vectors = np.asarray(rotation_vectors, dtype=np.float64)
    angle = np.linalg.norm(vectors, axis=-1)[:, None, None]
    cross = np.zeros((len(vectors), 3, 3))
    for row, column, axis, sign in ((2, 1, 0, 1), (0, 2, 1, 1), (1, 0, 2, 1)):
        cross[:, row, column] = sign * vectors[:, axis]
        cross[:, column, row] = -sign * vectors[:, axis]

    # sin θ/θ and (1 − cos θ)/θ² = ½ (sin(θ/2)/(θ/2))², both finite at θ = 0.
    first = np.sinc(angle / np.pi)
    second = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    rotations = np.eye(3) + first * cross + second * (cross @ cross)
    return rotations.transpose(0, 2, 1)


def cryosparc_poses_from_matrices(
    rotations: Float[np.ndarray, "particles 3 3"],
) -> Float[np.ndarray, "particles 3"]:
    """Rotation vectors in radians; inverse of :func:`matrices_from_cryosparc_poses`.

    By way of the unit quaternion (sin θ/2 axis, cos θ/2), a row of 4 q qᵀ, which is linear in
    the rotation: the one with the largest diagonal element (Markley, J. Guid. Control Dyn. 31,
    440, 2008). Angles are at most π.
    """
    (a, b, c), (d, e, f), (g, h, i) = np.moveaxis(
        np.asarray(rotations, dtype=np.float64).transpose(0, 2, 1), 0, -1
    )
    products = np.array(
        [
            [1 + a - e - i, b + d, c + g, h - f],
            [b + d, 1 - a + e - i, f + h, c - g],
            [c + g, f + h, 1 - a - e + i, d - b],
            [h - f, c - g, d - b, 1 + a + e + i],
        ]
    )
    largest = np.einsum("iip->ip", products).argmax(0)
    quaternions = products[largest, :, np.arange(len(largest))]
    quaternions *= np.where(quaternions[:, 3:] < 0, -1, 1)
    length = np.linalg.norm(quaternions[:, :3], axis=1)
    angle = 2 * np.arctan2(length, quaternions[:, 3])
    return quaternions[:, :3] * (angle / np.maximum(length, 1e-300))[:, None]
