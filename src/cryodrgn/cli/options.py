"""Options and checks that several commands share."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodrgn.errors import ConfigError, InputFileError

if TYPE_CHECKING:
    from cryodrgn.io.metadata import ParticleMetadata
    from cryodrgn.io.particle_files import ParticleFiles
    from cryodrgn.models.build import ModelConfig
    from cryodrgn.models.decoders import DecoderConfig
    from cryodrgn.reconstruction.trained import TrainedModel

# Options that are named as the config names them.
ARCHITECTURE = (
    *("zdim", "qlayers", "qdim", "encode_mode", "enc_mask"),
    *("players", "pdim", "pe_type", "pe_dim", "feat_sigma", "domain", "activation"),
)
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


def add_screen(parser: argparse._ActionsContainer) -> None:
    """How thoroughly images are looked at before work begins."""
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


def add_multigpu(parser: argparse._ActionsContainer) -> None:
    """Whether all devices of the machine compute."""
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


def add_volume_processing(group: argparse._ActionsContainer) -> None:
    """What is done to decoded volumes."""
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


def add_anchors(parser: argparse.ArgumentParser) -> None:
    """Particles that a path visits."""
    parser.add_argument(
        "--anchors",
        nargs="+",
        required=True,
        metavar="A",
        help="Particles to visit, by number from 0, or text files of such numbers",
    )


def read_anchors(words: list[str], count: int) -> list[int]:
    """The particles that ``--anchors`` names.

    Args:
        words: Numbers, or names of text files that hold numbers.
        count: Particles there are.

    Raises:
        CryodrgnError: A word is neither, or there is no such particle.
    """
    from cryodrgn.io.latent_text import load_index_text

    anchors: list[int] = []
    for word in words:
        is_number = word.lstrip("-").isdigit()
        anchors += [int(word)] if is_number else load_index_text(Path(word)).tolist()
    for anchor in anchors:
        if not 0 <= anchor < count:
            msg = f"--anchors names particle {anchor}, but they are numbered 0 to {count - 1}"
            raise ConfigError(msg)
    return anchors


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
    parser.add_argument(
        "--players",
        "--dec-layers",
        type=int,
        **default("Number of hidden layers", 3),
    )
    parser.add_argument(
        "--pdim", "--dec-dim", type=int, **default("Number of nodes in hidden layers", 256)
    )
    add_decoder_input(parser, with_defaults=with_defaults)


def add_bare_decoder(parser: argparse._ActionsContainer, *, hidden_dim: int) -> None:
    """Size of a decoder that has no encoder beside it."""
    parser.add_argument(
        "--layers", type=int, default=3, help="Number of hidden layers (default: %(default)s)"
    )
    parser.add_argument(
        "--dim",
        type=int,
        default=hidden_dim,
        help="Number of nodes in hidden layers (default: %(default)s)",
    )
    parser.add_argument(
        "--l-extent",
        type=float,
        default=0.5,
        help="Coordinate lattice size (if not using positional encoding) "
        "(default: %(default)s)",
    )


def add_decoder_input(
    parser: argparse._ActionsContainer, *, with_defaults: bool = True
) -> None:
    """What a decoder is given and what it returns."""
    default = _Defaults(with_defaults)
    encodings = ("geom_ft", "geom_full", "geom_lowf", "geom_nohighf", "linear_lowf", "none")
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


def add_config_overrides(parser: argparse.ArgumentParser) -> None:
    """Settings of a trained model that take the place of those in its config."""
    group = parser.add_argument_group("Overwrite architecture of the config")
    group.add_argument("--norm", type=float, nargs=2, help="Data normalization: shift, 1/scale")
    group.add_argument("-D", dest="box_size", type=int, help="Box size of the training images")
    group.add_argument("--zdim", type=int, help="Dimension of latent variable")
    group.add_argument("--l-extent", type=float, help="Coordinate lattice size")
    add_encoder_architecture(group, with_defaults=False)
    add_decoder_architecture(group, with_defaults=False)


def load_trained(args: argparse.Namespace) -> "TrainedModel":
    """The model of the ``weights`` argument, with settings overridden as the options say.

    Raises:
        CryodrgnError: Weights or config cannot be used.
    """
    from cryodrgn.io.run_config import find_run_config, load_run_config
    from cryodrgn.reconstruction.trained import TrainedModel

    if not args.weights.is_file():
        msg = f"{args.weights} does not exist"
        raise InputFileError(msg)
    config = load_run_config(args.config or find_run_config(args.weights))
    given = {name: getattr(args, name) for name in ARCHITECTURE}
    config["model_args"] |= {name: value for name, value in given.items() if value is not None}
    if args.norm is not None:
        config.setdefault("dataset_args", {})["norm"] = args.norm
    if args.box_size is not None:
        config["lattice_args"]["D"] = args.box_size + 1
    if args.l_extent is not None:
        config["lattice_args"]["extent"] = args.l_extent
    return TrainedModel.load(args.weights, config)


class _Defaults:
    """Help and default of an option; without default where the option overrides a config."""

    def __init__(self, with_defaults: bool) -> None:  # noqa: FBT001
        self._with_defaults = with_defaults

    def __call__(self, text: str, value: object) -> dict[str, Any]:
        if not self._with_defaults:
            return {"help": text}
        return {"help": f"{text} (default: %(default)s)", "default": value}


def vae_config(args: argparse.Namespace, box_size: int) -> "ModelConfig":
    """The auto-encoder that the architecture options describe.

    Raises:
        ConfigError: The options describe none.
    """
    from cryodrgn.models.build import ModelConfig
    from cryodrgn.models.encoders import EncoderConfig

    mode = args.encode_mode
    if args.tilt is not None and mode == "resid" and "encode_mode" not in args.given:
        mode = "tilt"
    encoder = EncoderConfig(
        mode=mode,
        num_layers=args.qlayers,
        hidden_dim=args.qdim,
        mask_radius=args.enc_mask,
        use_real=args.use_real,
        activation=args.activation,
    )
    return ModelConfig(
        box_size=box_size,
        latent_dim=_latent_dim(args),
        encoder=encoder,
        decoder=_decoder_config(args, args.players, args.pdim, extent=0.5),
    )


def decoder_only_config(args: argparse.Namespace, box_size: int) -> "ModelConfig":
    """The decoder with a latent that the architecture options describe.

    Raises:
        ConfigError: The options describe none.
    """
    return replace(single_structure(args, box_size), latent_dim=_latent_dim(args))


def single_structure(args: argparse.Namespace, box_size: int) -> "ModelConfig":
    """The decoder that the architecture options describe, without a latent.

    Raises:
        ConfigError: The options describe none.
    """
    from cryodrgn.models.build import ModelConfig

    return ModelConfig(
        box_size=box_size,
        latent_dim=0,
        encoder=None,
        decoder=_decoder_config(args, args.layers, args.dim, extent=args.l_extent),
    )


def _latent_dim(args: argparse.Namespace) -> int:
    if args.zdim is None:
        msg = "the dimension of the latent variable is missing; give it with --zdim"
        raise ConfigError(msg)
    if args.zdim < 1:
        msg = f"--zdim must be at least 1, got {args.zdim}"
        raise ConfigError(msg)
    return args.zdim


def _decoder_config(
    args: argparse.Namespace, num_layers: int, hidden_dim: int, *, extent: float
) -> "DecoderConfig":
    from cryodrgn.models.decoders import DecoderConfig

    return DecoderConfig(
        num_layers=num_layers,
        hidden_dim=hidden_dim,
        encoding=args.pe_type,
        encoding_dim=args.pe_dim,
        feature_sigma=args.feat_sigma,
        domain=args.domain,
        activation=args.activation,
        extent=extent,
    )
