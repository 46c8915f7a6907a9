"""The page with a million particles: first picture, lasso, memory, volumes.

    python benchmarks/dashboard.py [--particles 1000000]

A run is made up: latents of 8 dimensions, and models with random weights. The browser is
Chromium without a graphics card. What is printed belongs to the machine that prints it.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

DIM, BOX, NETWORK_BOX = 8, 128, 64


def make_states_run(folder, count):
    """A run of a states model: sums of stored volumes, at 128 px."""
    from cryodrgn.io.checkpoints import save_checkpoint
    from cryodrgn.io.cryodrgn_pickle import save_latents
    from cryodrgn.models.basis import BasisConfig, BasisModel
    from cryodrgn.rundir import RunDirectory

    files, rng = RunDirectory(folder), np.random.default_rng(0)
    folder.mkdir()
    latents = rng.normal(size=(count, DIM)).astype(np.float32)
    latents[:, 0] += 4 * rng.integers(0, 2, count)
    save_latents(files.latents(), latents, np.zeros_like(latents))
    shape = BasisConfig(
        kind="linear",
        box_size=BOX,
        latent_dim=DIM,
        num_functions=DIM,
        num_groups=1,
        radius=BOX // 2 - 1,
    )
    model = BasisModel(shape)
    model.volumes.data.copy_(torch.from_numpy(lumps(DIM + 1)))
    save_checkpoint(files.weights(), {"epoch": 0, "model_state_dict": model.state_dict()})
    write_config(files, shape.to_mapping())


def lumps(count):
    """Volumes of balls of density in the middle of the box: a molecule of a kind, in noise."""
    rng, axis = np.random.default_rng(1), np.linspace(-1, 1, BOX, dtype=np.float32)
    found = 0.02 * rng.normal(size=(count, BOX, BOX, BOX)).astype(np.float32)
    for volume in found:
        for centre in rng.uniform(-0.4, 0.4, size=(40, 3)).astype(np.float32):
            z, y, x = np.exp(-(((axis - centre[:, None]) / 0.06) ** 2))
            volume += np.einsum("z,y,x->zyx", z, y, x)
    found[1:] *= 0.3
    return found


def make_network_run(folder, count):
    """A run of a network of 3 layers of 256 units, at 64 px."""
    from cryodrgn.io.checkpoints import save_checkpoint
    from cryodrgn.io.cryodrgn_pickle import save_latents
    from cryodrgn.models.build import build_model
    from cryodrgn.models.config_file import model_config
    from cryodrgn.rundir import RunDirectory

    files, rng = RunDirectory(folder), np.random.default_rng(0)
    folder.mkdir()
    latents = rng.normal(size=(count, DIM)).astype(np.float32)
    save_latents(files.latents(), latents, np.zeros_like(latents))
    mapping = {
        "lattice_args": {"D": NETWORK_BOX + 1, "extent": 0.5, "ignore_DC": True},
        "model_args": {
            "qlayers": 1,
            "qdim": 16,
            "players": 3,
            "pdim": 256,
            "zdim": DIM,
            "encode_mode": "resid",
            "enc_mask": NETWORK_BOX // 2,
            "pe_type": "gaussian",
            "feat_sigma": 0.5,
            "pe_dim": NETWORK_BOX // 2,
            "domain": "fourier",
            "activation": "relu",
        },
    }
    model = build_model(model_config(mapping | {"dataset_args": {}}))
    save_checkpoint(files.weights(), {"epoch": 0, "model_state_dict": model.state_dict()})
    write_config(files, mapping)


def write_config(files, mapping):
    content = {"dataset_args": {"norm": [0.0, 1.0]}, **mapping}
    content["training"] = {"pixel_size": 2.0, "settings": {}}
    files.config_yaml.write_text(yaml.safe_dump(content))


def resident_mb(process):
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if "VmHWM" in line).split()[1]) / 1000


def main():
    from page.browser import browsing

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_states_run(folder / "states", options.particles)
        make_network_run(folder / "network", 10_000)
        line = [sys.executable, "-m", "cryodrgn", "dashboard", f"{folder}/states"]
        line += [f"{folder}/network", "--no-browser", "--port", "0", "--device", "cpu"]
        server = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        try:
            link = server.stdout.readline().split()[-1]
            with browsing(folder) as browser:
                measure(browser, link, server.pid, options.particles)
        finally:
            server.terminate()
            server.wait()


def measure(browser, link, process, count, repeats=7):
    """Medians, from the request of the page, a stroke or a wish to the pixels."""
    pictures = []
    for _ in range(3):
        browser.open(link)
        pictures.append(browser.until("return page.timings.picture"))
    print(f"{count} particles of {DIM} dimensions")
    print(f"first picture after {pictures[0] / 1000:.2f} s, again {pictures[-1] / 1000:.2f} s")
    print_times("lasso: number said", "drawn", *zip(*lassos(browser, repeats), strict=True))
    print(f"  {browser.text('count')}")
    sights = volumes(browser, repeats)
    print_times(f"states model, {BOX} px: first sight", "whole", *sights)
    browser.run("document.getElementById('run').value = 1")
    browser.run("document.getElementById('run').onchange()")
    browser.until("return page.run.name === 'network' && page.volumes.shown.a")
    sights = volumes(browser, repeats)
    print_times(f"network 256 x 3, {NETWORK_BOX} px: first sight", "whole", *sights)
    print(f"server's largest memory: {resident_mb(process):.0f} MB")


def lassos(browser, repeats):
    for _ in range(repeats):
        browser.run("page.timings.drawn = null")
        browser.drag("points", [(0.2, 0.2), (0.5, 0.3), (0.8, 0.2), (0.7, 0.8), (0.3, 0.7)])
        drawn = browser.until("return page.timings.drawn")
        yield browser.run("return page.timings.choice"), drawn


def volumes(browser, repeats):
    """Times from a wish to the first picture, and to that of the whole volume."""
    browser.until("return document.getElementById('busy').innerText === ''")
    found = []
    for number in range(repeats):
        # Before the next one the picture has become sharp, as while somebody looks at it.
        browser.wait_for("new Promise((done) => setTimeout(done, 700))")
        point = ",".join(["0.1"] * (DIM - 1) + [f"0.{number + 1}"])
        browser.run(
            f"page.timings.volume = null; page.volumes.decode({{z: [{point}], row: null}})"
        )
        whole = browser.until("return page.timings.volume")
        found.append((browser.run("return page.timings.sight"), whole))
    return list(zip(*found, strict=True))


def print_times(first, second, *times):
    medians = [np.median(values) for values in times]
    print(f"{first} after {medians[0]:.0f} ms, {second} after {medians[1]:.0f} ms")


if __name__ == "__main__":
    main()
