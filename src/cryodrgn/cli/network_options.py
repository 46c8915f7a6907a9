"""Options of networks, and the settings that they describe."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cryodrgn.errors import ConfigError, InputFileError

if TYPE_CHECKING:
    from cryodrgn.models.settings import DecoderSettings, EncoderSettings, ModelConfig
    from cryodrgn.reconstruction.trained import TrainedModel

# Options that are named as the config names them.
ARCHITECTURE = (
    *("zdim", "qlayers", "qdim", "encode_mode", "enc_mask"),
    *("use_real", "players", "pdim", "pe_type", "pe_dim", "feat_sigma", "domain", "activation"),
)

# Options that describe the perceptron and no other decoder.
OF_PERCEPTRON = frozenset(
    {"players", "pdim", "layers", "dim", "l_extent"}
    | {"pe_type", "pe_dim", "feat_sigma", "domain"}
)
# Options that describe encoders of cryoDRGN and no others.
OF_ENCODERS = frozenset({"qlayers", "qdim", "enc_mask", "use_real"})


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
        metavar="{conv,resid,mlp,tilt,NAME}",
        **default(
            "Type of encoder network, or the name of an encoder of another installed package, "
            "with its settings as NAME:SETTING=VALUE,...",
            "resid",
        ),
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
    """Options of the decoder's input (positional encoding) and output (domain)."""
    default = _Defaults(with_defaults)
    if with_defaults:
        parser.add_argument(
            "--decoder",
            metavar="NAME[:SETTING=VALUE,...]",
            help="Decoder of another installed package, with its settings (default: the "
            "perceptron, which the other options describe)",
        )
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
    group.add_argument(
        "--use-real",
        action="store_true",
        default=None,
        help="The encoder sees real space images",
    )
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
    from cryodrgn.models.settings import EncoderConfig, ModelConfig

    mode = args.encode_mode
    if args.tilt is not None and mode == "resid" and "encode_mode" not in args.given:
        mode = "tilt"
    encoder = _encoder_config(args, mode)
    if not isinstance(encoder, EncoderConfig):
        _refuse_activation(args)
    return ModelConfig(
        box_size=box_size,
        latent_dim=_latent_dim(args),
        encoder=encoder,
        decoder=_decoder_config(args, args.players, args.pdim, extent=0.5),
    )


def _encoder_config(args: argparse.Namespace, mode: Any) -> "EncoderSettings":
    from cryodrgn.models.registry import ENCODERS
    from cryodrgn.models.settings import EncoderConfig

    if not ENCODERS.is_built_in(mode):
        _refuse_beside(args, OF_ENCODERS, f"encoders of cryoDRGN, not --encode-mode {mode}")
        return ENCODERS.parse(mode)
    return EncoderConfig(
        mode=mode,
        num_layers=args.qlayers,
        hidden_dim=args.qdim,
        mask_radius=args.enc_mask,
        use_real=args.use_real,
        activation=args.activation,
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
    from cryodrgn.models.settings import ModelConfig

    _refuse_activation(args)
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
) -> "DecoderSettings":
    from cryodrgn.models.registry import DECODERS
    from cryodrgn.models.settings import DecoderConfig

    if args.decoder is not None:
        _refuse_beside(args, OF_PERCEPTRON, f"the perceptron, not --decoder {args.decoder}")
        return DECODERS.parse(args.decoder)

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


def _refuse_activation(args: argparse.Namespace) -> None:
    """Refuse an activation that neither decoder nor encoder has.

    Raises:
        ConfigError: It is given.
    """
    if args.decoder is not None:
        described = f"the perceptron, not --decoder {args.decoder}"
        _refuse_beside(args, frozenset({"activation"}), described)


def _refuse_beside(args: argparse.Namespace, options: frozenset[str], described: str) -> None:
    """Refuse options that would have no effect.

    Raises:
        ConfigError: One of them is given.
    """
    for name in sorted(options & args.given):
        msg = (
            f"--{name.replace('_', '-')} describes {described}, whose settings are given with "
            "its name as NAME:SETTING=VALUE"
        )
        raise ConfigError(msg)
