"""Options and checks that several commands share."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import ConfigError

if TYPE_CHECKING:
    from cryodrgn.io.metadata import ParticleMetadata
    from cryodrgn.io.particle_files import ParticleFiles

MRC_ENDINGS = (".mrc", ".mrcs")


def add_particles(parser: argparse.ArgumentParser) -> None:
    """The particle file that nearly every command takes."""
    parser.add_argument(
        "particles", type=Path, help="Input particles (.mrcs, .star, .cs, or .txt)"
    )


def add_datadir(parser: argparse._ActionsContainer) -> None:
    """The option of the folder that holds the stacks of a .star or .cs file."""
    parser.add_argument(
        "--datadir",
        type=Path,
        metavar="DIR",
        help="Folder of the image stacks that a .star or .cs file names, if they are not found "
        "from the folder of that file upwards",
    )


def inverts_data(args: argparse.Namespace) -> bool:
    """Whether the options ask for the other sign of the data; they exclude one another."""
    return not args.uninvert_data and args.invert_data


def add_screen(parser: argparse._ActionsContainer) -> None:
    """The option that sets how many images are screened before work begins."""
    parser.add_argument(
        "--screen",
        choices=("sample", "all", "none"),
        default="sample",
        help="Look for images that cannot be used (not finite, constant, hot pixels) among up "
        "to 1000 of them, and among all once others turn out to be bad; among all; or not at "
        "all. A few are left out and listed in screened.csv (default: %(default)s)",
    )


def add_pose_and_ctf(parser: argparse._ActionsContainer) -> None:
    """Pickles with poses and CTF."""
    add_poses(parser)
    add_ctf(parser)


def add_poses(parser: argparse._ActionsContainer) -> None:
    """A pickle with poses."""
    parser.add_argument(
        "--poses",
        type=Path,
        help="Image poses (.pkl); taken from the particles if they are a .star or .cs file",
    )


def add_ctf(parser: argparse._ActionsContainer) -> None:
    """A pickle with CTF parameters."""
    parser.add_argument(
        "--ctf",
        metavar="pkl",
        type=Path,
        help="CTF parameters (.pkl) if particle stack is not phase flipped; taken from the "
        "particles if they are a .star or .cs file",
    )


def add_tilt(parser: argparse.ArgumentParser) -> None:
    """The second images of tilt pairs."""
    group = parser.add_argument_group("Tilt series")
    group.add_argument("--tilt", type=Path, help="Particles (.mrcs) of the tilted exposure")
    group.add_argument(
        "--tilt-deg",
        type=float,
        default=45.0,
        help="X-axis tilt offset in degrees (default: %(default)s)",
    )


def add_device(parser: argparse._ActionsContainer) -> None:
    """The option of the device to compute on."""
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps …, or the number of a GPU (default: %(default)s, a GPU if "
        "there is one)",
    )


def add_multigpu(parser: argparse._ActionsContainer) -> None:
    """The option to compute on all devices of the machine."""
    parser.add_argument(
        "--multigpu",
        action="store_true",
        help="Compute on all GPUs of this machine, as if started with torchrun",
    )


def add_run_and_epoch(parser: argparse.ArgumentParser) -> None:
    """A finished run, and one of its epochs."""
    parser.add_argument("workdir", type=Path, help="Folder of a training run")
    parser.add_argument(
        "epoch",
        type=int,
        help="Number of an epoch as in the names of its files (from 0; of cryoDRGN 4 from 1); "
        "-1 for the files without a number",
    )


def add_like(group: argparse._ActionsContainer) -> None:
    """The map that volumes lie on."""
    group.add_argument(
        "--like",
        type=Path,
        metavar="MRC",
        help="Map that the volumes will lie on in ChimeraX, as the refinement that the poses "
        "come from: its origin is copied (default: the first voxel lies at zero)",
    )


def add_volume_processing(group: argparse._ActionsContainer) -> None:
    """Options for decoded volumes: pixel size, hand, sign, box size."""
    group.add_argument(
        "--Apix",
        dest="pixel_size",
        type=float,
        help="Angstroms per pixel of the training images (default: as in the config, else 1)",
    )
    group.add_argument("--flip", action="store_true", help="Flip handedness of the volumes")
    group.add_argument("--invert", action="store_true", help="Invert contrast of the volumes")
    group.add_argument(
        "-d",
        "--downsample",
        type=int,
        metavar="BOX",
        help="Downsample volumes to this box size (pixels)",
    )
    group.add_argument("--low-pass", type=float, metavar="Å", help="Low-pass filter in Å")
    group.add_argument(
        "--crop", type=int, metavar="PIX", help="Crop volumes to this box size after filtering"
    )
    add_like(group)


def particle_files(args: argparse.Namespace) -> "ParticleFiles":
    """The files that the options name."""
    from cryodrgn.io.particle_files import ParticleFiles

    return ParticleFiles(
        particles=args.particles,
        poses=args.poses,
        ctf=args.ctf,
        indices=args.ind,
        datadir=args.datadir,
        tilted=getattr(args, "tilt", None),
        tilt_deg=getattr(args, "tilt_deg", 45.0),
    )


def require_ending(path: Path, endings: tuple[str, ...], option: str) -> None:
    """Refuse an output path of the wrong type before any work is done.

    Raises:
        ConfigError: The path ends in something else.
    """
    if path.suffix not in endings:
        msg = f"{option} {path} must end in {' or '.join(endings)}"
        raise ConfigError(msg)
    if path.is_dir():
        msg = f"{option} {path} is a folder, expected the name of a file"
        raise ConfigError(msg)


def add_box_size(parser: argparse.ArgumentParser) -> None:
    """The box size of images that a metadata file describes."""
    parser.add_argument(
        "-D",
        dest="box_size",
        type=int,
        metavar="D",
        help="Box size of the reconstruction in pixels, before any downsampling; needed only "
        "where the file does not say it",
    )


def add_pixel_size(parser: argparse.ArgumentParser) -> None:
    """The pixel size of images that a metadata file describes."""
    parser.add_argument(
        "--Apix",
        dest="pixel_size",
        type=float,
        metavar="APIX",
        help="Angstroms per pixel before any downsampling; needed only where the file does not "
        "say it",
    )


def output_names(kind: str) -> tuple[str, ...]:
    """The names of the option for the file that a command writes, those of 4.x among them.

    Args:
        kind: What the file is, such as ``pkl`` or ``mrc``.
    """
    return ("-o", "--output", "--outfile", f"--out{kind}")


def add_pickle_output(parser: argparse.ArgumentParser, help_text: str) -> None:
    """A pickle to write."""
    parser.add_argument(
        *output_names("pkl"),
        dest="output",
        type=Path,
        required=True,
        metavar="PKL",
        help=help_text,
    )


def add_ctf_picture(parser: argparse.ArgumentParser) -> None:
    """A picture of the first particle's CTF."""
    parser.add_argument(
        "--png", type=Path, metavar="PNG", help="Optionally plot the CTF of the first particle"
    )


def write_ctf(metadata: "ParticleMetadata", args: argparse.Namespace) -> None:
    """Parse CTF parameters as the options say, and draw the first CTF if asked to."""
    from cryodrgn.io.parse import parse_ctf

    if args.png is None:
        parse_ctf(metadata, args.output, args.box_size, args.pixel_size)
        return
    from cryodrgn.analysis.plots import plot_ctf, save_figure

    ctf, box_size, pixel_size = parse_ctf(metadata, args.output, args.box_size, args.pixel_size)
    save_figure(plot_ctf(ctf, box_size, pixel_size), args.png)
