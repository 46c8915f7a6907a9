"""Starting point of a run: new, resumed, or from the weights of another run."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError, InputFileError
from cryodrgn.io.checkpoints import load_checkpoint
from cryodrgn.io.recorded_files import MOVABLE
from cryodrgn.io.run_config import find_run_config, load_run_config
from cryodrgn.models.build import build_model, misfit_in_words
from cryodrgn.models.settings import LinearNetworkConfig
from cryodrgn.rundir import RunDirectory, ScreeningFiles
from cryodrgn.training.options import Precision
from cryodrgn.training.run_config import RunConfig

logger = logging.getLogger(__name__)

# Of the functions of a linear model's latent, which the images decide.
FOUND_OUT = ("num_functions", "num_landmarks", "num_neighbours")

# Epochs after convergence before a run stops.
EPOCHS_SETTLING = 3
GO_ON = "go on with that run by `outdir` and `load` latest alone"
Load = Path | Literal["latest"] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ResumePoint:
    """Starting point of a run: weights, moments, position.

    Attributes:
        checkpoint: A weight file's content; None for freshly drawn weights.
        source: Where it comes from, for messages.
        epochs_done: Epochs that count as done.
        is_same_run: Whether the run goes on exactly, with everything the checkpoint remembers.
        norm: Offset and scale that the run used before.
        precision: Number type of the matrix products that it used before.
    """

    checkpoint: dict[str, Any] | None = None
    source: Path | None = None
    epochs_done: int = 0
    is_same_run: bool = False
    norm: tuple[float, float] | None = None
    precision: Precision | None = None

    @property
    def moving_weights(self) -> dict[str, Any]:
        """Weights that training moves on; those of the file, but where these are averages."""
        assert self.checkpoint is not None
        if self.is_same_run and "moving" in self.checkpoint["run_state"]:
            return self.checkpoint["run_state"]["moving"]
        return self.checkpoint["model_state_dict"]

    @property
    def recorded(self) -> RunConfig | None:
        """The run that wrote the weights; None where the file does not say."""
        settings = (self.checkpoint or {}).get("run_state", {}).get("settings")
        try:
            return None if settings is None else RunConfig.from_settings(settings)
        except ConfigError:
            return None

    @property
    def is_under_way(self) -> bool:
        """True if the run has taken a step, and so has latents of its own."""
        if self.checkpoint is None or not self.is_same_run:
            return False
        position = self.checkpoint["run_state"]["position"]
        return (position["epoch"], position["batch"]) > (0, 0)

    @property
    def epochs_converged(self) -> int:
        """Epochs since the held-out evaluation found that training has converged."""
        if self.checkpoint is None or not self.is_same_run:
            return 0
        records = self.checkpoint["run_state"].get("held_out", {}).get("records", [])
        return sum(record["converged"] for record in records)


def resolve_resume(
    run: RunDirectory,
    config: RunConfig,
    load: Load,
    in_words: Callable[[RunConfig, RunConfig], str],
    *,
    overwrite: bool,
) -> ResumePoint:
    """Decide where a run begins, before anything is written.

    Args:
        run: Its folder.
        config: Its settings.
        load: ``latest`` to go on in the folder, a weight file to begin with, None for neither.
        in_words: Says in which options a recorded run and a described one differ.
        overwrite: Whether what an earlier run wrote may be replaced.

    Raises:
        ConfigError: The folder holds another run, or one that must be continued or overwritten.
        InputFileError: The weight file cannot be used.
    """
    recorded = recorded_config(run)
    if recorded is not None and load is not None:
        recorded = with_moved_files(recorded, config)
    if isinstance(load, Path):
        in_this_folder = load.resolve().parent == run.path.resolve() and recorded is not None
        if in_this_folder:
            _require_same(run, recorded, config, in_words)
        elif recorded is not None and not overwrite:
            _refuse_used_folder(run, recorded, config, in_words)
        return _from_file(load, is_same_run=in_this_folder)
    if recorded is None or overwrite:
        if load == "latest" and not overwrite:
            logger.info("there is no run in %s yet: `load` latest begins one", run.path)
        return ResumePoint()
    if load is None:
        _refuse_used_folder(run, recorded, config, in_words)
    _require_same(run, recorded, config, in_words)
    latest = latest_checkpoint(run)
    if latest is None:
        logger.info("%s holds no checkpoint yet: the run begins again", run.path)
        return ResumePoint(**_as_before(run.config_yaml))
    return _from_file(latest, is_same_run=True)


def require_fitting(
    config: RunConfig, start: ResumePoint, in_words: Callable[[RunConfig, RunConfig], str]
) -> None:
    """Refuse weights of another run that are of another model.

    Args:
        config: Settings of the run that begins with them.
        start: The weights.
        in_words: Says in which options of the model the other run and this one differ.

    Raises:
        InputFileError: They are.
    """
    if start.checkpoint is None or start.is_same_run:
        return
    words = misfit_in_words(build_model(config.model), start.moving_weights)
    if words is None:
        return
    recorded = start.recorded
    if {"volumes", "noise"} <= start.moving_weights.keys():
        words = "it is of a linear model, whose folder networks begin with by `linear_run`"
    elif recorded is not None:
        words = in_words(recorded, config) or words
    msg = (
        f"{start.source} does not fit the model of this run: {words}; give the options of the "
        "run that wrote it, or begin without `load`"
    )
    raise InputFileError(msg)


def _is_complete(start: ResumePoint, run: RunDirectory) -> bool:
    """False for a run that was killed after an epoch, before it wrote its last files.

    Weights of another folder have nothing left to write in this one.
    """
    return not start.is_same_run or start.source in {None, run.weights()}


def is_over(config: RunConfig, start: ResumePoint, run: RunDirectory) -> bool:
    """True for a run of which all epochs are done, and all files of training written."""
    return start.epochs_done >= config.training.num_epochs and _is_complete(start, run)


def require_epochs_left(config: RunConfig, start: ResumePoint, run: RunDirectory) -> None:
    """Refuse a run that is over.

    Raises:
        ConfigError: All epochs are done, or training has converged and stopped.
    """
    wanted = config.training.num_epochs
    is_complete = _is_complete(start, run)
    if is_over(config, start, run):
        done = counted(start.epochs_done, "epoch is", "epochs are")
        words = f"nothing is left to train in {run.path}: {done} done"
        if not start.is_same_run:
            words = (
                f"nothing is left to train with {start.source}: {done} done in the run that "
                "wrote it, and they count here"
            )
        msg = (
            f"{words}, and no more than {wanted} asked for; ask for more than "
            f"{start.epochs_done} with `num_epochs`"
        )
        raise ConfigError(msg)
    held_out = config.training.held_out
    has_stopped = is_complete and start.epochs_converged > EPOCHS_SETTLING
    if held_out is not None and held_out.stop and has_stopped:
        msg = (
            f"nothing is left to train in {run.path}: it has converged, and stopped after "
            f"{counted(start.epochs_done, 'epoch')}; go on with `stop_when_converged=False`"
        )
        raise ConfigError(msg)


def warn_of_fixed_poses(config: RunConfig) -> None:
    """Warn where poses are to be refined, but training ends before that begins."""
    training = config.training
    if training.poses is None or training.search is not None:
        return
    fixed, wanted = training.poses.pretrain, training.num_epochs
    if wanted <= fixed:
        logger.warning(
            "poses are not refined: they stay fixed for the first %s (`pose_pretrain`), and no "
            "more than %d asked for; ask for more than %d with `num_epochs`, or give a smaller "
            "`pose_pretrain`",
            counted(fixed, "epoch"),
            wanted,
            fixed,
        )


def recorded_config(run: RunDirectory) -> RunConfig | None:
    """The settings of the run in a folder; None if there is none of ours.

    Raises:
        InputFileError: The config file is damaged.
        ConfigError: It is of another version, or the folder holds a run of cryoDRGN.
    """
    if not run.config_yaml.exists():
        if run.epochs() or run.config_pickle.exists():
            _refuse_foreign(run)
        return None
    mapping = load_run_config(run.config_yaml)
    if "settings" not in mapping.get("training", {}):
        _refuse_foreign(run)
    recorded = RunConfig.from_settings(mapping["training"]["settings"])
    files = recorded.data.files
    if files.indices is None:
        return recorded
    files = replace(files, indices=ScreeningFiles(run.path).rows_of_record(files.indices))
    return replace(recorded, data=replace(recorded.data, files=files))


def with_moved_files(recorded: RunConfig, config: RunConfig) -> RunConfig:
    """A recorded run, with files that are named anew in place of those that are gone."""
    changes = {}
    for name in MOVABLE.values():
        old, new = (getattr(one.data.files, name) for one in (recorded, config))
        if None not in {old, new} and old != new and not old.exists():
            logger.warning("%s, which the run began with, is gone: %s is read", old, new)
            changes[name] = new
    files = replace(recorded.data.files, **changes)
    return replace(recorded, data=replace(recorded.data, files=files))


def latest_checkpoint(run: RunDirectory) -> Path | None:
    """The file that is furthest into the run in a folder."""
    candidates = [path for path in (run.weights(), run.checkpoint) if path.exists()]
    candidates += [run.weights(epoch) for epoch in run.epochs()[-1:]]
    return max(candidates, key=_progress, default=None)


def _progress(path: Path) -> tuple[int, int]:
    position = load_checkpoint(path)["run_state"]["position"]
    return position["epoch"], position["batch"]


def _from_file(path: Path, *, is_same_run: bool) -> ResumePoint:
    """Start from a weight file of this program or of any version of cryoDRGN."""
    content = load_checkpoint(path)
    if "run_state" in content:
        epochs_done = content["run_state"]["position"]["epoch"]
    else:
        epochs_done = int(content.get("epoch", 0)) + (0 if _counts_from_one(path) else 1)
    return ResumePoint(
        checkpoint=content,
        source=path,
        epochs_done=epochs_done,
        is_same_run=is_same_run and "run_state" in content,
        **(_as_before(find_run_config(path)) if is_same_run else {}),
    )


def _counts_from_one(path: Path) -> bool:
    """True if a weight file of cryoDRGN is of version 4, whose epochs count from 1."""
    try:
        return find_run_config(path).suffix == ".yaml"
    except InputFileError:
        return False


def _as_before(config_path: Path) -> dict[str, Any]:
    """Measurements made when the run began, which must not be made again."""
    config = load_run_config(config_path)
    offset, scale = config["dataset_args"]["norm"]
    return {
        "norm": (float(offset), float(scale)),
        "precision": config.get("training", {}).get("network_dtype"),
    }


def _require_same(
    run: RunDirectory,
    recorded: RunConfig | None,
    config: RunConfig,
    in_words: Callable[[RunConfig, RunConfig], str],
) -> None:
    if recorded is None:
        return
    differences = recorded.differences(config)
    if not differences:
        return
    msg = (
        f"{run.path} holds a run with other settings: {in_words(recorded, config)}; "
        f"{GO_ON}; to train with the settings given here, choose another folder"
    )
    weights = latest_checkpoint(run)
    # Networks of other sizes, and latents of other particles, cannot begin with its weights.
    fixed = ("model.", "data.") if config.model.kind == "dec" else ("model.",)
    if weights is not None and not any(name.startswith(fixed) for name in differences):
        msg += f", where they can begin from its weights with `load` {weights}"
    raise ConfigError(msg)


def _refuse_used_folder(
    run: RunDirectory,
    recorded: RunConfig,
    config: RunConfig,
    in_words: Callable[[RunConfig, RunConfig], str],
) -> None:
    config = _with_functions_of(recorded, config)
    if recorded.differences(config):
        what, go_on = f"another run: {in_words(recorded, config)}", GO_ON
    else:
        what, go_on = "this run already", "go on with it with `load` latest"
    msg = (
        f"{run.path} holds {what}; {go_on}, choose another folder, or replace it with "
        "`overwrite`"
    )
    raise ConfigError(msg)


def _with_functions_of(recorded: RunConfig, config: RunConfig) -> RunConfig:
    """Settings with the functions of the latent that a run on a linear model found out."""
    old, new = recorded.model.decoder, config.model.decoder
    if not isinstance(old, LinearNetworkConfig) or not isinstance(new, LinearNetworkConfig):
        return config
    found = {name: getattr(old, name) for name in FOUND_OUT}
    return replace(config, model=replace(config.model, decoder=replace(new, **found)))


def _refuse_foreign(run: RunDirectory) -> None:
    msg = (
        f"{run.path} holds a run of another program, or of a command that trains no network; "
        "choose another folder, or replace it with `overwrite`"
    )
    raise ConfigError(msg)
