"""Options and checks that several commands share."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodrgn.errors import ConfigError

if TYPE_CHECKING:
    from cryodrgn.io.metadata import ParticleMetadata
    from cryodrgn.io.particle_files import ParticleFiles
    from cryodrgn.models.build import ModelConfig

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


def add_encoder_architecture(
    parser: argparse._ActionsContainer, *, with_defaults: bool = True
) -> None:
    """Architecture of the encoder, under the names of 0.2.0 and of later versions."""
    default = _Defaults(with_defaults)
    parser.add_argument(
        "--qlayers",
        "--enc-layers",
        type=int,
        **default("Number of hidden layers", 3),
    )
    parser.add_argument(
        "--qdim", "--enc-dim", type=int, **default("Number of nodes in hidden layers", 256)
    )
    parser.add_argument(
        "--encode-mode",
        choices=("conv", "resid", "mlp", "tilt"),
        **default("Type of encoder network", "resid"),
    )
    parser.add_argument(
        "--enc-mask",
        type=int,
        help="Circular mask of image for encoder (default: D/2; -1 for no mask)",
    )


def add_decoder_architecture(
    parser: argparse._ActionsContainer, *, with_defaults: bool = True
) -> None:
    """Architecture of the decoder, under the names of 0.2.0 and of later versions."""
    default = _Defaults(with_defaults)
    encodings = ("geom_ft", "geom_full", "geom_lowf", "geom_nohighf", "linear_lowf", "none")
    parser.add_argument(
        "--players",
        "--dec-layers",
        type=int,
        **default("Number of hidden layers", 3),
    )
    parser.add_argument(
        "--pdim", "--dec-dim", type=int, **default("Number of nodes in hidden layers", 256)
    )
    parser.add_argument(
        "--pe-type",
        choices=(*encodings, "gaussian"),
        **default("Type of positional encoding", "geom_lowf"),
    )
    parser.add_argument(
        "--pe-dim", type=int, help="Waves per axis of the positional encoding (default: D/2)"
    )
    parser.add_argument(
        "--feat-sigma",
        type=float,
        **default("Scale of the wave vectors of --pe-type gaussian", 0.5),
    )
    parser.add_argument(
        "--domain",
        choices=("hartley", "fourier"),
        **default("Decoder representation domain", "fourier"),
    )
    parser.add_argument(
        "--activation", choices=("relu", "leaky_relu"), **default("Activation", "relu")
    )


class _Defaults:
    """Help and default of an option; without default where the option overrides a config."""

    def __init__(self, with_defaults: bool) -> None:  # noqa: FBT001
        self._with_defaults = with_defaults

    def __call__(self, text: str, value: object) -> dict[str, Any]:
        if not self._with_defaults:
            return {"help": text}
        return {"help": f"{text} (default: %(default)s)", "default": value}


def model_config(args: argparse.Namespace, box_size: int) -> "ModelConfig":
    """The model that the architecture options describe."""
    from cryodrgn.models.build import ModelConfig
    from cryodrgn.models.decoders import DecoderConfig
    from cryodrgn.models.encoders import EncoderConfig

    encoder = EncoderConfig(
        mode=args.encode_mode,
        num_layers=args.qlayers,
        hidden_dim=args.qdim,
        mask_radius=args.enc_mask,
        activation=args.activation,
    )
    decoder = DecoderConfig(
        num_layers=args.players,
        hidden_dim=args.pdim,
        encoding=args.pe_type,
        encoding_dim=args.pe_dim,
        feature_sigma=args.feat_sigma,
        domain=args.domain,
        activation=args.activation,
    )
    return ModelConfig(
        box_size=box_size, latent_dim=args.zdim, encoder=encoder, decoder=decoder
    )
