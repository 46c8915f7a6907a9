"""The record of a run from check to report: versions, seed, inputs, choices, steps."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cryodrgn
from cryodrgn.errors import ConfigError, InputFileError
from cryodrgn.io.atomic import atomic_path, make_folder
from cryodrgn.io.particle_files import ParticleFiles, open_images, open_metadata
from cryodrgn.io.provenance import describe_files, describe_many_files
from cryodrgn.rundir import RunDirectory

LIBRARIES = ("torch", "numpy")


class Manifest:
    """A file that is written anew with everything that becomes known.

    Args:
        path: The file; what an earlier call wrote there is kept.

    Raises:
        InputFileError: It is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: dict[str, Any] = {}
        if path.is_file():
            try:
                self._content = json.loads(path.read_text())
            except (ValueError, RecursionError) as error:
                msg = f"{path} is damaged ({error}); give another folder"
                raise InputFileError(msg) from error

    def begin(self, request: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        """Record what is asked for, or make sure that it is what was asked for before.

        Args:
            request: What the user asks for.
            inputs: The files it is made from, with their hashes.

        Raises:
            ConfigError: The folder holds a run of something else, or its inputs have changed.
        """
        folder = self._path.parent
        if not self._content and RunDirectory(folder).config_yaml.exists():
            msg = f"{folder} holds a training run, not one of cryodrgn run; give another folder"
            raise ConfigError(msg)
        for name, value in request.items():
            before = self._content.get("request", request).get(name)
            if before != value:
                msg = (
                    f"{self._path.parent} holds a run with {name} {_short(before)}, not "
                    f"{_short(value)}; give another folder, or the settings of that run"
                )
                raise ConfigError(msg)
        for name, found in inputs.items():
            before = self._content.get("inputs", {}).get(name)
            if before is not None and before["sha256"] != found["sha256"]:
                msg = (
                    f"{name} has changed since {self._path.parent} was begun; give another "
                    "folder"
                )
                raise ConfigError(msg)
        self._content |= {
            "versions": _versions(),
            "request": dict(request),
            "inputs": dict(inputs),
        }
        self._content.setdefault("steps", {})
        self._write()

    def record(self, entries: Mapping[str, Any]) -> None:
        """Add entries, in place of those of the same names."""
        self._content |= entries
        self._write()

    def add_step(self, name: str, command: str, seconds: float) -> None:
        """Record a step that has been made."""
        self._content["steps"][name] = {"command": command, "seconds": round(seconds, 1)}
        self._write()

    @property
    def content(self) -> Mapping[str, Any]:
        """Everything recorded so far."""
        return self._content

    def _write(self) -> None:
        make_folder(self._path.parent)
        with atomic_path(self._path) as partial:
            partial.write_text(json.dumps(self._content, indent=1, ensure_ascii=False) + "\n")


def _versions() -> dict[str, str]:
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {
        "cryodrgn": cryodrgn.__version__,
        "python": platform.python_version(),
        **libraries,
        "machine": platform.platform(),
    }


def _short(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def input_files(files: ParticleFiles) -> dict[str, dict[str, Any]]:
    """Everything a run is made from, with sizes and hashes."""
    tables = [files.particles, files.poses, files.ctf, files.indices]
    described = describe_files([path for path in tables if path is not None])
    found: dict[str, dict[str, Any]] = {str(item.pop("file")): dict(item) for item in described}
    metadata = open_metadata(files.particles)
    stack = open_images(files.particles, metadata, files.datadir, of_any_shape=True)
    return found | {"image stacks": describe_many_files(stack.paths)}
