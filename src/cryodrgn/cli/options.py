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
    """Where the stacks of a .star or .cs file lie."""
    parser.add_argument(
        "--datadir",
        type=Path,
        metavar="DIR",
        help="Folder of the image stacks that a .star or .cs file names, if they are not found "
        "from the folder of that file upwards",
    )


def add_pose_and_ctf(parser: argparse._ActionsContainer) -> None:
    """Pickles with poses and CTF."""
    parser.add_argument(
        "--poses",
        type=Path,
        help="Image poses (.pkl); taken from the particles if they are a .star or .cs file",
    )
    parser.add_argument(
        "--ctf",
        metavar="pkl",
        type=Path,
        help="CTF parameters (.pkl) if particle stack is not phase flipped; taken from the "
        "particles if they are a .star or .cs file",
    )


def add_tilt(parser: argparse.ArgumentParser) -> None:
    """The second exposure of tilt pairs."""
    group = parser.add_argument_group("Tilt series")
    group.add_argument("--tilt", type=Path, help="Particles (.mrcs) of the tilted exposure")
    group.add_argument(
        "--tilt-deg",
        type=float,
        default=45.0,
        help="X-axis tilt offset in degrees (default: %(default)s)",
    )


def add_device(parser: argparse._ActionsContainer) -> None:
    """Where to compute."""
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps … (default: %(default)s, a GPU if there is one)",
    )


def particle_files(args: argparse.Namespace) -> "ParticleFiles":
    """The files that the options name."""
    from cryodrgn.io.particle_files import ParticleFiles

    return ParticleFiles(
        particles=args.particles,
        poses=args.poses,
        ctf=args.ctf,
        indices=args.ind,
        datadir=args.datadir,
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


def add_pickle_output(parser: argparse.ArgumentParser, help_text: str) -> None:
    """A pickle to write."""
    parser.add_argument(
        "-o", dest="output", type=Path, required=True, metavar="PKL", help=help_text
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
