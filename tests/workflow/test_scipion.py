"""The command lines of a Scipion project, typed in its order, and the files its viewers open.

The lines are those of scipion-em-cryodrgn, as far as their options are documented: GPUs by
number, threads, and options that have no effect here.
"""

import logging
import shlex

import numpy as np
import pytest
import torch

from cryodrgn.analysis.pca import plane_of
from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_pickles
from cryodrgn.io.latent_text import load_latent_text
from cryodrgn.io.mrc import read_volume

pytestmark = pytest.mark.slow

PREPARATION = (
    (
        "downsample IN/particles.star -D 16 -o OUT/downsampled_parts.16.mrcs --datadir IN "
        "--chunk 20 --max-threads 4"
    ),
    "parse_pose_star IN/particles.star -D 32 -o OUT/poses.pkl --Apix 6.0",
    (
        "parse_ctf_star IN/particles.star -D 32 --Apix 6.0 -o OUT/ctfs.pkl --kv 300 --cs 2.7 "
        "-w 0.1 --ps 0"
    ),
)
INPUTS = "OUT/downsampled_parts.16.txt --poses OUT/poses.pkl --ctf OUT/ctfs.pkl"
TRAINING = (
    (
        f"train_vae {INPUTS} --zdim 3 -o OUT/output -n 2 -b 8 --enc-layers 1 --enc-dim 8 "
        "--dec-layers 1 --dec-dim 8 --max-threads 4 --no-analysis --uninvert-data --relion31"
    ),
    (
        f"eval_images {INPUTS.replace('--poses', 'OUT/output/weights.1.pkl --poses')} "
        "-c OUT/output/config.yaml -o OUT/losses.pkl --out-z OUT/latents.pkl --max-threads 4"
    ),
    "analyze OUT/output 1 --Apix 12.0 --device 0 --ksample 3 --n-per-pc 3",
    (
        "eval_vol OUT/output/weights.1.pkl -c OUT/output/config.yaml -o OUT/volumes "
        "--zfile OUT/output/analyze.1/kmeans3/z_values.txt --Apix 12.0 --device 0"
    ),
    (
        "analyze_landscape OUT/output 1 --device 0 -N 6 -M 2 --pc-dim 3 --plot-dim 2 "
        "--skip-umap --vol-start-index 0 --multigpu"
    ),
    (
        "analyze_landscape_full OUT/output 1 --device 0 -N 8 --epochs 2 --dim 8 --layers 1 "
        "--test-batch-size 8"
    ),
)
LINE = (
    (
        f"train_vae {INPUTS} --zdim 1 -o OUT/line -n 1 --enc-layers 1 --enc-dim 8 "
        "--dec-layers 1 --dec-dim 8 --max-threads 4"
    ),
    "analyze OUT/line 0 --Apix 12.0 --device 0 --n-per-pc 2",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Everything that the lines write."""
    out = tmp_path_factory.mktemp("scipion")
    words = f"simulate -D 32 --Apix 6 -n 40 --num-states 3 --snr 3 -o {out}/in"
    assert main(words.split()) == 0
    said: list[str] = []
    of_devices = logging.getLogger("cryodrgn.devices")
    of_devices.addFilter(lambda record: said.append(record.getMessage()) or True)
    with pytest.MonkeyPatch.context() as patch:
        # A UMAP takes longer than all the rest, and its places do not matter here.
        for module in ("workflow.analyze", "workflow.landscape_full"):
            patch.setattr(
                f"cryodrgn.{module}.umap_embedding",
                lambda latents, *_, **__: plane_of(latents).astype(np.float32),
            )
        for line in (*PREPARATION, *TRAINING, *LINE):
            words = line.replace("IN", f"{out}/in").replace("OUT", str(out))
            said.clear()
            assert main(shlex.split(words)) == 0, line
            # What there is in place of a GPU is told once.
            assert len(said) == len(set(said)), line
    of_devices.filters.clear()
    return out


def test_the_viewer_of_an_analysis_finds_its_files(project):
    folder = project / "output/analyze.1"
    names = [
        *(f"kmeans3/{name}.png" for name in ("umap", "umap_hex", "z_pca", "z_pca_hex")),
        *(f"pc{n}/{name}.png" for n in (1, 2) for name in ("umap", "umap_traversal_connected")),
        *(f"pc{n}/z_values.txt" for n in (1, 2)),
        *("kmeans3/z_values.txt", "kmeans3/labels.pkl", "umap.pkl", "z_pca.png", "umap.png"),
        *("cryoDRGN_filtering.ipynb", "cryoDRGN_figures.ipynb", "cryoDRGN_viz.ipynb"),
    ]
    assert [name for name in names if not (folder / name).is_file()] == []
    assert load_latent_text(folder / "kmeans3/z_values.txt", 3).shape == (3, 3)
    volumes = sorted(path.name for path in (folder / "kmeans3").glob("vol_*.mrc"))
    assert volumes == ["vol_000.mrc", "vol_001.mrc", "vol_002.mrc"]


def test_the_viewer_of_one_dimension_finds_its_files(project):
    folder = project / "line/analyze.0"
    names = ("z.png", "z_hist.png", "z_values.txt", "vol_000.mrc")
    assert [name for name in names if not (folder / name).is_file()] == []


def test_the_viewer_of_a_landscape_finds_its_files(project):
    folder = project / "output/landscape.1"
    states = folder / "sketch_clustering_average_2"
    assert load_pickles(folder / "umap.pkl")[0].shape == (40, 2)
    names = ("vol_pca_obj.pkl", "vol_pca_6.pkl", "vol_pca_all.pkl", "umap_vol_pca.pkl")
    assert [name for name in names if not (folder / name).is_file()] == []
    names = ("state_volume_counts.png", "state_particle_counts.png", "umap_annotated.png")
    assert [name for name in names if not (states / name).is_file()] == []


def test_volumes_at_the_centres_have_the_pixel_size_that_was_given(project):
    volumes = sorted((project / "volumes").glob("vol_*.mrc"))
    assert len(volumes) == 3
    assert all(read_volume(path)[1] == 12.0 for path in volumes)


def test_a_gpu_by_its_number_is_taken_for_what_there_is(project, capfd):
    run = project / "line"
    words = f"eval_vol {run}/weights.0.pkl -c {run}/config.yaml -z 0 -o {run}/v.mrc --device 0"
    assert main(words.split()) == 0
    said = capfd.readouterr().err
    assert torch.cuda.is_available() or "--device 0: " in said
