"""The page with a million particles: first picture, lasso, memory, volumes.

    python benchmarks/dashboard.py [--particles 1000000]

A run is made up: latents of 8 dimensions, and models with random weights. The browser is
Chromium without a graphics card. What is printed belongs to the machine that prints it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
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
    model.volumes.data.normal_()
    save_checkpoint(files.weights(), {"epoch": 0, "model_state_dict": model.state_dict()})
    write_config(files, shape.to_mapping())


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


def measure(browser, link, process, count):
    begun = time.monotonic()
    browser.open(link)
    print(f"{count} particles of {DIM} dimensions, opened in {time.monotonic() - begun:.2f} s")
    print(f"first picture after {browser.run('return page.timings.picture') / 1000:.2f} s")
    browser.drag("points", [(0.2, 0.2), (0.5, 0.3), (0.8, 0.2), (0.7, 0.8), (0.3, 0.7)])
    browser.until("return page.latent.mask")
    print(f"lasso answered in {browser.run('return page.timings.choice'):.0f} ms")
    print(f"  {browser.text('count')}")
    volume = "page.volumes.decode({{z: [{}], row: null}}).then(() => page.timings.{})"
    point = ",".join(["0.1"] * DIM)
    times = [browser.wait_for(volume.format(point + str(n), "volume")) for n in range(4)]
    print(f"volume of a states model, {BOX} px: {min(times):.0f} ms to the browser")
    server = (
        "performance.getEntriesByType('resource').filter((e) => e.name.includes('volume?'))"
    )
    waits = browser.run(f"return {server}.map((e) => e.responseStart - e.requestStart)")
    print(f"  of which the server takes {min(waits):.0f} ms")
    browser.run("document.getElementById('run').value = 1")
    browser.run("document.getElementById('run').onchange()")
    browser.until("return page.run.name === 'network' && page.volumes.shown.a")
    times = [browser.wait_for(volume.format(point + str(n), "sight")) for n in range(4)]
    print(f"network 256 x 3, {NETWORK_BOX} px: {min(times):.0f} ms to first sight")
    print(f"server's largest memory: {resident_mb(process):.0f} MB")


if __name__ == "__main__":
    main()
