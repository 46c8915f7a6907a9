"""Options that have no effect beside other options, by command, and why."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

NO_VOLUMES = "no volumes are made"
NO_SHIFTS = "no shifts are searched"
NO_TILT = "there is no second exposure"
KEPT = "the volumes that are there are used"
NO_ENCODER = "latents are free numbers of each particle"
NO_LATENT = "a single structure has no latent"


@dataclass(frozen=True, slots=True)
class Inactive:
    """Options that another option switches off.

    Attributes:
        options: Their names, separated by spaces.
        when: ``with --x`` or ``without --x`` (several options, separated by commas, are
            alternatives), or ``unless --x value``, or ``with --x value``; ``--load FILE`` is
            any value but ``latest``.
        why: What happens instead.
    """

    options: str
    when: str
    why: str

    def holds(self, value_of: Callable[[str], object]) -> bool:
        """True if the options are switched off, given the value of every option."""
        kind, _, rest = self.when.partition(" ")
        active = any(_is_active(part, value_of) for part in rest.split(", "))
        return active == (kind == "with")


def _is_active(part: str, value_of: Callable[[str], object]) -> bool:
    """True if an option is given, or has one of the values named after it."""
    option, *values = part.split()
    value = value_of(option)
    if values == ["FILE"]:
        return value not in {None, "latest"}
    if values:
        return str(value) in values
    return value is not None and value is not False and value not in ([], ())


WINDOW = (Inactive("--window-r", "with --no-window", "images are not windowed"),)
TILT = (Inactive("--tilt-deg", "without --tilt", NO_TILT),)
ENCODING = (
    Inactive("--feat-sigma", "unless --pe-type gaussian", "other encodings have fixed waves"),
    Inactive("--pe-dim", "with --pe-type none", "there are no waves"),
)
EXTENT = (
    Inactive("--l-extent", "unless --pe-type none", "a positional encoding has its own scale"),
)
CONVOLUTIONS = (
    Inactive("--qlayers", "with --encode-mode conv", "it has four layers"),
    Inactive("--enc-mask", "with --encode-mode conv", "it sees the whole image"),
)
CACHE = (Inactive("--lazy --memory", "with --cache-dir", "images stay in that folder"),)
LAZY = (Inactive("--memory", "with --lazy", "prepared images go to a file"),)
POSES = "--emb-type --pose-lr"
RUN = (*WINDOW, *LAZY, *CACHE, *ENCODING)
TRAINING = (
    *RUN,
    Inactive(
        f"{POSES} --pretrain --pretrain-pose", "without --do-pose-sgd", "poses stay as they are"
    ),
)
SEARCH = (
    *RUN,
    Inactive("--t-extent --t-ngrid", "with --no-trans", NO_SHIFTS),
    Inactive(
        "--starts --start-images --pretrain", "with --load-poses", "no first maps are made"
    ),
    Inactive(
        "--starts --start-images --pretrain", "with --load FILE", "no first maps are made"
    ),
    Inactive("--l-ramp-model", "with --output-mask", "that says whether the network ramps"),
    Inactive(POSES, "with --refine-epochs 0", "poses do not follow their gradients"),
)
LATENT = (
    *SEARCH,
    *CONVOLUTIONS,
    Inactive("--z-lr --initial-conf", "with --use-conf-encoder", "an encoder tells latents"),
    Inactive(
        "--beta --beta-control --encode-mode --qlayers --qdim --enc-mask --use-real",
        "without --use-conf-encoder",
        NO_ENCODER,
    ),
    Inactive("--eq-start-it --eq-end-it", "without --equivariance", "there is no penalty"),
    Inactive("--classes", "with --load-poses, --load FILE", "no first maps are made"),
    Inactive("--pretrain", "with --enc-only", "the decoder stays as it is"),
    Inactive(
        "--std-z-init",
        "with --load-poses, --load FILE, --initial-conf",
        "classes do not tell first latents",
    ),
)
LATENT_OPTIONS = (
    "--use-conf-encoder --z-lr --initial-conf --std-z-init --classes --references --beta "
    "--beta-control --enc-only --equivariance --eq-start-it --eq-end-it --qlayers --qdim "
    "--encode-mode --enc-mask --use-real"
)

INACTIVE: Mapping[str, Sequence[Inactive]] = {
    "parse_star": (
        Inactive("--png --kv --cs -w --ps", "without --ctf", "no CTF parameters are written"),
    ),
    "parse_pose_csparc": (
        Inactive("--abinit", "with --class", "the poses of that class are taken"),
    ),
    "train_vae": (
        *TRAINING,
        *TILT,
        *CONVOLUTIONS,
        Inactive("--init-epochs", "without --init-z", "no latents are taught"),
        Inactive(
            "--t-emb-dim --tlayers --tdim",
            "unless --encode-mode tilt",
            "they are of the encoder of that name",
        ),
        Inactive(
            "--t-emb-dim --tlayers --tdim", "with --tilt", "they are of the encoder of series"
        ),
    ),
    "train_nn": (*TRAINING, *EXTENT),
    "train_dec": (*TRAINING, *EXTENT),
    "abinit_homo": (*SEARCH, *EXTENT),
    "abinit_het": LATENT,
    "abinit": (*LATENT, Inactive(LATENT_OPTIONS, "with --zdim 0", NO_LATENT)),
    "power": (
        *WINDOW,
        Inactive("--domain-kda", "with --model, --mask", "what moves is given"),
        Inactive("--noise", "with --trials 0", "nothing is planted"),
        Inactive(
            "--noise --trials --radius --fit-images",
            "with --plant",
            "no report is made",
        ),
        Inactive(
            "--poses --ctf --ctf-applied --ind --datadir --screen --single-images "
            "--dose-per-tilt --angle-per-tilt --ntilts --invert-data --window --window-r "
            "--lazy --device --seed -D --consensus --shares --noise --trials --plant --model "
            "--chains --mask --domain-kda --axis --motions --components --radius --fit-images "
            "--box",
            "with --judge",
            "the run and the planted set say all",
        ),
    ),
    "train_linear": (*WINDOW, *LAZY, *CACHE, *TILT),
    "reconstruct_states": (
        *(*WINDOW, *LAZY, *CACHE),
        Inactive("--functions", "with --method kernel", "images near each state are averaged"),
    ),
    "backproject_voxel": (
        *TILT,
        Inactive("--first", "with --ind", "the index names the images"),
    ),
    "eval_images": (*WINDOW, *TILT),
    "eval_vol": (
        Inactive("-n", "without --z-start", "there is no path to divide"),
        Inactive("--prefix --vol-start-index", "with -z", "the one volume is named by -o"),
    ),
    "filter": (
        Inactive(
            "--epoch --kmeans --sel-dir --name --force",
            "without --clusters, --outliers, --plot-inds",
            "the page shows all epochs and clusters, and asks for names",
        ),
        Inactive("--kmeans", "without --clusters", "no clusters are asked for"),
        Inactive(
            "--host --port --no-browser --device",
            "with --clusters, --outliers, --plot-inds",
            "no page is opened",
        ),
    ),
    "analyze": (
        Inactive(
            "--Apix --flip --invert --downsample --low-pass --crop --device --multigpu --like "
            "--compile",
            "with --skip-vol",
            NO_VOLUMES,
        ),
    ),
    "analyze_landscape": (
        Inactive("--thresh --dilate --cosine-edge", "with --mask", "the mask is given"),
        Inactive("--Apix --downsample --compile --seed", "with --skip-vol", KEPT),
    ),
    "analyze_landscape_full": (
        Inactive("--training-volumes --compile", "with --skip-vol", KEPT),
    ),
    "downsample": (
        Inactive("--chunk --datadir --ind --screen", "with --is-vol", "a volume is one file"),
    ),
    "export": (
        Inactive("--table-ind", "without --labels, --latents", "there is no table to look up"),
        Inactive("--copies", "without --expanded", "every row is a particle of its own"),
    ),
    "select": (
        Inactive(
            "--like --device",
            "without --feature",
            "no density is compared",
        ),
        Inactive("--ctf --datadir", "without --particles", "no particle file is read"),
        Inactive(
            "--count", "without --near, --near-particle, --random", "all that qualify are taken"
        ),
        Inactive("--seed", "without --random", "nothing is drawn"),
        Inactive(
            "--pc",
            "without --box, --outliers, --near, --near-particle",
            "no criterion asks for coordinates",
        ),
    ),
    "simulate": (
        Inactive("--num-states --hinge-range", "with models", "they are the states"),
        Inactive("--defocus --kv --cs -w --b-factor", "with --no-ctf", "images have no CTF"),
        Inactive(
            "--tilt-range --tilt-step --dose-per-tilt --per-tomogram",
            "without --tilt-series",
            "particles are shown by one image",
        ),
    ),
}
NO_MARKS = (
    Inactive("--seed", "without --sample1", "nothing is drawn at random"),
    Inactive("--out-s --annotate", "without --sample1, --sample2", "nothing is marked"),
)
NO_DOTS = Inactive("--ms --alpha --color", "with --kde", "a density has no dots")
TOOLS_INACTIVE: Mapping[str, Sequence[Inactive]] = {
    "analyze_convergence": (
        Inactive(
            "--final-maxima --thresh --dilate --dist --Apix --flip --invert --downsample "
            "--low-pass --crop --device --like",
            "with --skip-volgen",
            NO_VOLUMES,
        ),
        Inactive("--subset", "with --skip-umap", "no maps are made"),
    ),
    "plot_classes": (Inactive("--seed", "with --skip-umap", "no map is made"),),
    "make_movies": (
        Inactive("--analysis-dir", "unless kind latent", "films are of a landscape"),
        Inactive("--landscape-dir", "unless kind volume", "films are of an analysis"),
    ),
    "add_noise": (
        Inactive("--mask --mask-r", "with --sigma", "the noise is given, not measured"),
        Inactive("--mask-r", "unless --mask circular", "there is no disc"),
    ),
    "align_poses": (
        Inactive("--vol", "without --ref-vol, --out-vol", "nothing is done with the map"),
    ),
    "clean": (Inactive("--force", "with --dry-run", "nothing is deleted"),),
    "plot_z1": NO_MARKS,
    "plot_z2": (*NO_MARKS, NO_DOTS),
    "plot_z_pca": (*NO_MARKS, NO_DOTS),
    "kmeans": (Inactive("--on-data", "without --out-k", "the centres are not written"),),
}
