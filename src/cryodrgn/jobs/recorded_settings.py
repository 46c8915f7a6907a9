"""Options of commands for settings that runs record, and differences of two runs in them."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodrgn.errors import ConfigError
from cryodrgn.settings import Job, command_of, options_of, same_setting

if TYPE_CHECKING:
    from cryodrgn.training.run_config import RunConfig

# Options that fix settings which they are not declared alike with, by the recorded names.
BEHIND = {
    "model.latent_dim": "zdim",
    "model.encoder.name": "encode_mode",
    "model.encoder.mode": "encode_mode",
    "model.encoder.num_tilts": "num_tilts",
    "model.decoder.name": "decoder_name",
    "model.decoder.extent": "lattice_extent",
    "data.files.particles": "particles",
    "data.files.series.is_series": "single_images",
    "training.poses": "refine_poses",
    "training.tilts_drawn": "random_tilts",
    "training.keeps_decoder": "encoder_only",
    "training.search.takes_given": "poses",
    "training.search.ramps_model": "ramps_model",
    "training.search.grids.shift_centre_px": "shift_centre_x_px",
}
# Settings that follow from several options or from the images.
FOLLOWING = {
    "model.box_size": "side of the images",
    "data.files.sampling": "lattice of the images",
    "training.poses.pretrain": "epochs before poses are refined (`num_epochs` less "
    "`refine_epochs`)",
}
# Other commands that make runs of the same kind, by command.
ALSO = {"abinit": ("abinit_homo", "abinit_het")}
COMMANDS = {"vae": "train_vae", "dec": "train_dec", "nn": "train_nn"}


def require_own_command(job: Job[Any], recorded: "RunConfig", folder: Path) -> None:
    """Refuse to go on with a run of another command, whose models this one does not make.

    Raises:
        ConfigError: It is one.
    """
    own, found = command_of(type(job)), _command_of(recorded)
    if found not in {own, *ALSO.get(own, ())}:
        msg = f"{folder} holds a run of {found}, not of {own}; go on with it by {found}"
        raise ConfigError(msg)


def require_recorded_particles(
    job: Job[Any], recorded: "RunConfig", particles: Path, folder: Path
) -> None:
    """Refuse to go on with a run with particles of another file, while its own is there.

    Args:
        job: The job that goes on.
        recorded: The run.
        particles: The file that was given.
        folder: The folder of the run.

    Raises:
        ConfigError: Another file was given, or it is a run of another command.
    """
    require_own_command(job, recorded, folder)
    known = recorded.data.files.particles
    if known == particles.resolve() or not known.exists():
        return
    msg = (
        f"the run in {folder} goes on with the particles that it began with, of {known}, which "
        f"is there, not with {particles}; to go on, type cryodrgn {command_of(type(job))} "
        f"`outdir` {folder} `load` latest; to train on {particles}, give another folder with "
        f"`outdir`; where {particles} holds the same particles and is to be read in its place, "
        f"rename {known} before you go on"
    )
    raise ConfigError(msg)


def differences_in_options(
    job: Job[Any], recorded: "RunConfig", described: "RunConfig", within: str = ""
) -> str:
    """Differences of a recorded run and the one that a job describes, by the job's options.

    Values that were not given, but are defaults, are said to be that.

    Args:
        job: The job.
        recorded: The recorded run.
        described: The one that the job describes.
        within: Beginning of the names of settings that are compared.
    """
    commands = _command_of(recorded), _command_of(described)
    if commands[0] != commands[1]:
        return f"it is one of {commands[0]}, not of {commands[1]}"
    runs = [config.training.linear_run for config in (recorded, described)]
    if (runs[0] is None) != (runs[1] is None):
        summed = f"a network on a linear model (`linear_run` {runs[0] or runs[1]})"
        kinds = summed, "a network alone"
        there, here = kinds if runs[0] else kinds[::-1]
        return f"it is of {there}, and this is {here}"
    found: dict[str, str] = {}
    for name, (old, new) in recorded.differences(described).items():
        if not name.startswith(within):
            continue
        group = name.rpartition(".")[0]
        whole = [_at(config, group) is not None for config in (recorded, described)]
        if group in BEHIND and whole[0] != whole[1]:
            # All of the group is there, or nothing.
            name, (old, new) = group, whole
        option = _option(job, recorded, name) or _option(job, described, name)
        words = FOLLOWING.get(name, name.rpartition(".")[2].replace("_", " "))
        shown = f"`{option}`" if option else words
        is_default = option is not None and option not in job.given and new is not None
        default = " by default" if is_default and getattr(job, option or "") == new else ""
        found.setdefault(
            shown, f"{shown} {_in_words(old)} there, {_in_words(new)} here{default}"
        )
    return "; ".join(found.values())


def given_otherwise(job: Job[Any], recorded: "RunConfig", names: Iterable[str]) -> list[str]:
    """Options of a job with values other than those of a recorded run, and these, in words.

    Args:
        job: The job.
        recorded: The run.
        names: The options that are compared.
    """
    known: dict[str, Any] = {}
    for name in recorded.flat_settings():
        option = _option(job, recorded, name)
        if option is not None:
            known.setdefault(option, _at(recorded, name))
    found = []
    for option in names:
        here, there = getattr(job, option), known.get(option)
        if option not in known:
            found.append(f"`{option}`")
        elif _plain(here) != _plain(there):
            found.append(f"`{option}` {_in_words(here)} (it is {_in_words(there)} there)")
    return found


def _plain(value: Any) -> Any:
    return value.resolve() if isinstance(value, Path) else value


def _option(job: Job[Any], config: "RunConfig", name: str) -> str | None:
    """Option of a job that fixes a setting of a run; None if there is none."""
    group, _, last = name.rpartition(".")
    owner = _at(config, group)
    same = None if owner is None else same_setting(type(job), type(owner), last)
    behind = BEHIND.get(name)
    return same or (behind if behind in options_of(type(job)) else None)


def _at(config: "RunConfig", name: str) -> Any:
    """The part of a run that has a dotted name; None if it has no such part."""
    found: Any = config
    for part in name.split(".") if name else ():
        found = getattr(found, part, None)
    return found


def _in_words(value: Any) -> str:
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _command_of(config: "RunConfig") -> str:
    """The command that makes runs of this kind."""
    if config.training.search is None:
        return COMMANDS[config.model.kind]
    return "abinit_homo" if config.model.kind == "nn" else "abinit_het"
