"""Heterogeneous cryo-EM reconstruction: from particle images to a moving molecule.

Every command is a function of the same name (``backproject_voxel`` is ``backproject``), with
the settings of the command line as arguments; the other names are what a notebook needs most.
Each is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryodrgn.data.preprocessing import Preprocessing as Preprocessing
    from cryodrgn.fourier.shells import fourier_shell_correlation as fourier_shell_correlation
    from cryodrgn.io.cryodrgn_pickle import load_latents as load_latents
    from cryodrgn.io.mrc import read_volume as read_volume
    from cryodrgn.io.mrc import write_volume as write_volume
    from cryodrgn.io.particle_files import ParticleFiles as ParticleFiles
    from cryodrgn.io.particle_files import open_particles as open_particles
    from cryodrgn.io.run_config import load_run_config as load_run_config
    from cryodrgn.jobs.abinit import abinit as abinit
    from cryodrgn.jobs.abinit import abinit_het as abinit_het
    from cryodrgn.jobs.abinit import abinit_homo as abinit_homo
    from cryodrgn.jobs.analyze import analyze as analyze
    from cryodrgn.jobs.analyze import analyze_landscape as analyze_landscape
    from cryodrgn.jobs.analyze import analyze_landscape_full as analyze_landscape_full
    from cryodrgn.jobs.backproject import backproject as backproject
    from cryodrgn.jobs.check import check as check
    from cryodrgn.jobs.compare_models import compare_models as compare_models
    from cryodrgn.jobs.conformational_density import (
        conformational_density as conformational_density,
    )
    from cryodrgn.jobs.dashboard import dashboard as dashboard
    from cryodrgn.jobs.demo import demo as demo
    from cryodrgn.jobs.downsample import downsample as downsample
    from cryodrgn.jobs.eval_images import eval_images as eval_images
    from cryodrgn.jobs.eval_vol import eval_vol as eval_vol
    from cryodrgn.jobs.expand import expand as expand
    from cryodrgn.jobs.export import export as export
    from cryodrgn.jobs.filter import filter as filter
    from cryodrgn.jobs.machine import benchmark as benchmark
    from cryodrgn.jobs.machine import doctor as doctor
    from cryodrgn.jobs.nuisance import nuisance as nuisance
    from cryodrgn.jobs.parse import parse_ctf_csparc as parse_ctf_csparc
    from cryodrgn.jobs.parse import parse_ctf_star as parse_ctf_star
    from cryodrgn.jobs.parse import parse_pose_csparc as parse_pose_csparc
    from cryodrgn.jobs.parse import parse_pose_star as parse_pose_star
    from cryodrgn.jobs.parse import parse_star as parse_star
    from cryodrgn.jobs.power import power as power
    from cryodrgn.jobs.reconstruct_states import reconstruct_states as reconstruct_states
    from cryodrgn.jobs.run import run as run
    from cryodrgn.jobs.select import select as select
    from cryodrgn.jobs.simulate import simulate as simulate
    from cryodrgn.jobs.train_dec import train_dec as train_dec
    from cryodrgn.jobs.train_linear import train_linear as train_linear
    from cryodrgn.jobs.train_nn import train_nn as train_nn
    from cryodrgn.jobs.train_vae import train_vae as train_vae
    from cryodrgn.jobs.traversals import direct_traversal as direct_traversal
    from cryodrgn.jobs.traversals import graph_traversal as graph_traversal
    from cryodrgn.jobs.traversals import pc_traversal as pc_traversal
    from cryodrgn.particles.particle_set import ParticleSet as ParticleSet
    from cryodrgn.reconstruction.decode import VolumeDecoder as VolumeDecoder
    from cryodrgn.rundir import RunDirectory as RunDirectory
    from cryodrgn.runs.run import Run as Run
    from cryodrgn.runs.run import open_run as open_run
    from cryodrgn.training.events import listening as listening

__version__ = "1.0.0.dev0"

# Names by module, for those who import them; a test compares them with the imports above.
_NAMES = {
    "data.preprocessing": "Preprocessing",
    "fourier.shells": "fourier_shell_correlation",
    "io.cryodrgn_pickle": "load_latents",
    "io.mrc": "read_volume write_volume",
    "io.particle_files": "ParticleFiles open_particles",
    "io.run_config": "load_run_config",
    "jobs.abinit": "abinit abinit_het abinit_homo",
    "jobs.analyze": "analyze analyze_landscape analyze_landscape_full",
    "jobs.backproject": "backproject",
    "jobs.check": "check",
    "jobs.compare_models": "compare_models",
    "jobs.conformational_density": "conformational_density",
    "jobs.dashboard": "dashboard",
    "jobs.demo": "demo",
    "jobs.downsample": "downsample",
    "jobs.eval_images": "eval_images",
    "jobs.eval_vol": "eval_vol",
    "jobs.expand": "expand",
    "jobs.export": "export",
    "jobs.filter": "filter",
    "jobs.machine": "benchmark doctor",
    "jobs.nuisance": "nuisance",
    "jobs.parse": "parse_ctf_csparc parse_ctf_star "
    "parse_pose_csparc parse_pose_star parse_star",
    "jobs.power": "power",
    "jobs.reconstruct_states": "reconstruct_states",
    "jobs.run": "run",
    "jobs.select": "select",
    "jobs.simulate": "simulate",
    "jobs.train_dec": "train_dec",
    "jobs.train_linear": "train_linear",
    "jobs.train_nn": "train_nn",
    "jobs.train_vae": "train_vae",
    "jobs.traversals": "direct_traversal graph_traversal pc_traversal",
    "particles.particle_set": "ParticleSet",
    "reconstruction.decode": "VolumeDecoder",
    "rundir": "RunDirectory",
    "runs.run": "Run open_run",
    "training.events": "listening",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    """Import a name of the table above when it is first used."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The names of the table, for completion."""
    return [*__all__, "__version__"]
