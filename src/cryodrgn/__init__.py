"""Heterogeneous cryo-EM reconstruction: from particle images to a moving molecule.

The names below are what a notebook needs most; each is imported when it is first used.
"""

import importlib

__version__ = "1.0.0.dev0"

_HOMES = {
    "ParticleFiles": "cryodrgn.io.particle_files",
    "ParticleSet": "cryodrgn.particles.particle_set",
    "Preprocessing": "cryodrgn.data.preprocessing",
    "RunDirectory": "cryodrgn.rundir",
    "VolumeDecoder": "cryodrgn.reconstruction.decode",
    "Run": "cryodrgn.runs.run",
    "check_particles": "cryodrgn.workflow.check",
    "export_particles": "cryodrgn.io.export",
    "report_nuisances": "cryodrgn.workflow.nuisance",
    "backproject": "cryodrgn.reconstruction.backproject",
    "fourier_shell_correlation": "cryodrgn.fourier.shells",
    "load_latents": "cryodrgn.io.legacy_pickle",
    "load_run_config": "cryodrgn.io.run_config",
    "open_particles": "cryodrgn.io.particle_files",
    "open_run": "cryodrgn.runs.run",
    "read_volume": "cryodrgn.io.mrc",
    "write_volume": "cryodrgn.io.mrc",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    """Import a name of the table above when it is first used."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The names of the table, for completion."""
    return [*__all__, "__version__"]
