"""A run of cryoDRGN 4.3 as its files are described, written with torch and YAML alone.

Nothing of this program is used, so that reader and writer cannot share a mistake: a network
with Gaussian features on the Fourier domain, epochs that count from 1, two pickles in a file of
latents, a log without times.
"""

import pickle
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import yaml

BOX, WIDTH, LAYERS, DIM, SCALE = 16, 12, 2, 2, 25.5
FEATURES = 8


def write_run_of_4(folder: Path, simulated: Path, count: int) -> dict[str, torch.Tensor]:
    """Write the folder of a run on simulated particles.

    Args:
        folder: Where.
        simulated: Folder with ``particles.mrcs``, ``poses.pkl`` and ``ctf.pkl``.
        count: Number of particles.

    Returns:
        The weights.
    """
    folder.mkdir()
    rng = torch.Generator().manual_seed(4)
    named = (simulated / name for name in ("particles.mrcs", "poses.pkl", "ctf.pkl"))
    particles, poses, ctf = map(str, named)
    config = {
        "cmd": ["/bin/cryodrgn", "train_vae", particles, "--zdim", str(DIM), "-n", "2"],
        "dataset_args": {
            "ctf": ctf,
            "datadir": None,
            "ind": None,
            "invert_data": True,
            "keepreal": False,
            "norm": [0.0, SCALE],
            "particles": particles,
            "poses": poses,
            "do_pose_sgd": False,
            "window": True,
            "window_r": 0.85,
        },
        "lattice_args": {"D": BOX + 1, "extent": 0.5, "ignore_DC": True},
        "model_args": {
            "activation": "relu",
            "domain": "fourier",
            "enc_mask": BOX // 2,
            "encode_mode": "resid",
            "feat_sigma": 0.5,
            "pdim": WIDTH,
            "pe_dim": None,
            "pe_type": "gaussian",
            "players": LAYERS,
            "qdim": WIDTH,
            "qlayers": LAYERS,
            "tilt_params": {"tdim": 1024, "tlayers": 3, "t_emb_dim": 64, "ntilts": 10},
            "zdim": DIM,
        },
        "seed": 12345,
        "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).replace(tzinfo=None),
        "version": "4.3.0",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    encoder = _layers("encoder.main", _points_of_disc(), 2 * DIM, rng)
    decoder = _layers("decoder.decoder.main", 6 * FEATURES + DIM, 2, rng)
    features = 0.5 * torch.randn(3 * FEATURES, 3, generator=rng)
    state = {**encoder, **decoder, "decoder.rand_freqs": features}
    log = [" ".join(config["cmd"]), "cryoDRGN 4.3.0"]
    for epoch in (1, 2, None):
        ending = "" if epoch is None else f".{epoch}"
        step = 2 if epoch is None else epoch
        latents = torch.randn(count, DIM, generator=torch.Generator().manual_seed(step))
        weights = {"epoch": step, "model_state_dict": state, "optimizer_state_dict": {}}
        torch.save(weights, folder / f"weights{ending}.pkl")
        with (folder / f"z{ending}.pkl").open("wb") as file:
            pickle.dump(latents.numpy(), file)
            pickle.dump(np.full((count, DIM), -2, np.float32), file)
        if epoch:
            log.append(
                f"# =====> Epoch: {epoch} Average gen loss = 0.{9 - epoch}, KLD = 1.5, total "
                f"loss = 0.{9 - epoch}5; Finished in 0:00:01"
            )
    (folder / "run.log").write_text("\n".join(log) + "\n")
    return state


def volume_of_4(state: dict[str, torch.Tensor], latent: np.ndarray) -> np.ndarray:
    """The volume (z, y, x) at a latent, evaluated point by point in double precision."""
    weights = {name: value.double() for name, value in state.items()}
    ends = torch.linspace(-0.5, 0.5, BOX + 1, dtype=torch.float64)
    z, y, x = torch.meshgrid(ends, ends, ends, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    # Only half of the space is evaluated. In the plane in between, that is the half before the
    # centre, in the order of rows.
    number = torch.arange(len(points))
    middle = len(points) // 2
    beyond = (points[:, 2] > 0) | ((points[:, 2] == 0) & (number > middle))
    asked = torch.where(beyond[:, None], -points, points)
    phases = (BOX // 2) * asked @ weights["decoder.rand_freqs"].T
    values = torch.cat(
        [phases.sin(), phases.cos(), torch.as_tensor(latent).double().expand(len(points), -1)],
        dim=1,
    )
    for place in range(LAYERS + 2):
        prefix = f"decoder.decoder.main.{2 * place}"
        inner = f"{prefix}.linear" if 0 < place <= LAYERS else prefix
        out = values @ weights[f"{inner}.weight"].T + weights[f"{inner}.bias"]
        values = out + values if 0 < place <= LAYERS else out
        values = values.relu() if place <= LAYERS else values
    real, imaginary = values.T
    hartley = SCALE * (real - torch.where(beyond, -imaginary, imaginary))
    hartley[points.norm(dim=1) > 0.5] = 0
    cube = hartley.reshape((BOX + 1,) * 3)[:BOX, :BOX, :BOX].numpy()
    transform = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(cube)))
    return ((transform.real - transform.imag) / BOX**3).astype(np.float32)


def _points_of_disc() -> int:
    axis = np.arange(BOX + 1) - BOX // 2
    return int((axis[:, None] ** 2 + axis**2 <= (BOX // 2) ** 2).sum()) - 1


def _layers(
    prefix: str, inputs: int, outputs: int, rng: torch.Generator
) -> dict[str, torch.Tensor]:
    """Weights of a residual perceptron, by the names that its modules have."""
    sizes = [(WIDTH, inputs), *[(WIDTH, WIDTH)] * LAYERS, (outputs, WIDTH)]
    found = {}
    for place, (rows, columns) in enumerate(sizes):
        name = f"{prefix}.{2 * place}" + (".linear" if 0 < place <= LAYERS else "")
        reach = columns**-0.5
        found[f"{name}.weight"] = reach * (2 * torch.rand(rows, columns, generator=rng) - 1)
        found[f"{name}.bias"] = reach * (2 * torch.rand(rows, generator=rng) - 1)
    return found
