"""The command line is a contract: a flag may be added, but none may change or go."""

import pytest

from command_line import subparsers
from cryodrgn.cli.tools import CRYODRGN_UTILS

RUN = (
    "particles -o --outdir --poses --ctf --load --checkpoint --log-interval -v --verbose "
    "--seed | --overwrite --checkpoint-minutes -D --memory --cache-dir"
)
DATASET = (
    "--invert-data --window --ind --lazy --datadir "
    "| --uninvert-data --no-window --window-r --screen"
)
TRAINING = (
    "-n --num-epochs -b --batch-size --wd --lr --norm "
    "| --precision --no-amp --device --multigpu --curriculum"
)
HELD_OUT = "--held-out --stop-when-converged --no-stop-when-converged"
POSES = "--do-pose-sgd --emb-type --pose-lr"
SEARCH = (
    "particles -o --outdir --ctf --load --load-poses --checkpoint --log-interval -v --verbose "
    "--seed --t-extent --t-ngrid --t-xshift --t-yshift --no-trans --pretrain --ps-freq "
    "--l-start --l-end --niter --nkeptposes --base-healpy --l-ramp-epochs --emb-type --pose-lr "
    "| --overwrite --checkpoint-minutes -D --memory --cache-dir --starts --start-images "
    "--refine-epochs"
)
LATENT = (
    "--zdim --beta --beta-control --qlayers --qdim --encode-mode --enc-mask --use-real "
    "--players --pdim | --use-conf-encoder --z-lr --classes --references --enc-layers "
    "--enc-dim --dec-layers --dec-dim"
)
DECODER = "--pe-type --domain | --pe-dim --feat-sigma --activation"
OVERRIDES = (
    "--norm -D --zdim --qlayers --qdim --encode-mode --enc-mask --players --pdim --pe-type "
    "--domain --l-extent | --enc-layers --enc-dim --dec-layers --dec-dim --pe-dim --feat-sigma "
    "--activation"
)
# Flags of the cryoDRGN 0.2.0 documentation come first, our additions after the bar.
FROZEN_FLAGS: dict[str, str] = {
    "downsample": "mrcs -D -o --is-vol --chunk --datadir | --screen",
    "parse_pose_star": "input -D -o",
    "parse_pose_csparc": "input --abinit --hetrefine -D -o",
    "parse_ctf_star": "star --Apix -D -o --png --kv --cs -w --ps",
    "parse_ctf_csparc": "cs -o --png | -D --Apix",
    "backproject_voxel": (
        "particles --poses --ctf -o --invert-data --datadir --ind --first --tilt --tilt-deg "
        "| --ctf-alg --device --screen"
    ),
    "train_vae": (
        f"{RUN} {DATASET} {TRAINING} {POSES} --pretrain {DECODER} --players --pdim --zdim "
        "--tilt --tilt-deg --beta --beta-control --qlayers --qdim --encode-mode --enc-mask "
        f"--use-real | {HELD_OUT} --init-z --init-epochs --enc-layers --enc-dim --dec-layers "
        "--dec-dim"
    ),
    "train_nn": (
        f"{RUN} {DATASET} {TRAINING} {POSES} --pretrain {DECODER} --layers --dim --l-extent "
        f"| {HELD_OUT}"
    ),
    "train_dec": (
        f"{RUN} {DATASET} {TRAINING} {POSES} --pretrain-pose {DECODER} --layers --dim "
        "--l-extent --zdim --load-z --z-lr --pretrain-z"
    ),
    "abinit_homo": f"{SEARCH} {DATASET} {TRAINING} {DECODER} --layers --dim --l-extent",
    "abinit_het": f"{SEARCH} {DATASET} {TRAINING} {DECODER} {LATENT}",
    "abinit": f"{SEARCH} {DATASET} {TRAINING} {DECODER} {LATENT}",
    "eval_vol": (
        f"weights -c --config -o --prefix -v --verbose -z --z-start --z-end -n --zfile --Apix "
        f"--flip -d --downsample {OVERRIDES} | --invert --low-pass --crop --vol-start-index "
        "--device --multigpu"
    ),
    "eval_images": (
        f"particles weights -c --config -o --poses --ctf --log-interval -b --batch-size --beta "
        f"-v --verbose --tilt --tilt-deg {DATASET} {OVERRIDES} | --out-z --device"
    ),
    "doctor": "--device",
    "benchmark": "--json --boxes --batches --widths --seconds --steps-only --device",
    "analyze": (
        "workdir epoch --device -o --outdir --skip-vol --skip-umap --Apix --flip -d "
        "--downsample | --invert --low-pass --crop --pc --n-per-pc --ksample --seed --multigpu"
    ),
    "analyze_landscape": (
        "workdir epoch | --device -o --outdir --seed -N --sketch-size -d --downsample --Apix "
        "--flip --skip-vol --thresh --dilate --cosine-edge --mask --linkage -M --pc-dim "
        "--plot-dim"
    ),
    "analyze_landscape_full": (
        "workdir epoch | --device --landscape-dir -o --outdir --seed -N --training-volumes "
        "--flip -d --skip-vol --batch-size --epochs --dim --layers --lr --num-neighbors "
        "--resolution | --skip-umap --downsample"
    ),
    "pc_traversal": "z --dim -n --lim -o | --pc --use-percentile-spacing --outdir",
    "direct_traversal": "zfile --anchors -n --loop -o --outtxt",
    "graph_traversal": (
        "data --anchors --max-neighbors --avg-neighbors --batch-size --max-images -o --out-z "
        "| --outind --outtxt -v --verbose"
    ),
    "train_linear": (
        f"particles -o --outdir --poses --ctf --seed --overwrite {DATASET} --tilt --tilt-deg "
        "-D --memory --cache-dir --components --radius --fit-images --contrast --mask "
        "--focus-mask --device"
    ),
    "reconstruct_states": (
        f"workdir epoch -o --outdir -z --zfile --num-states --method --functions --mask --seed "
        f"--latents --particles --poses --ctf {DATASET} -D --memory --cache-dir --device"
    ),
    "conformational_density": "workdir epoch -o --outdir --dims --anchors --bootstraps --seed",
    "demo": "-o --outdir --seed",
    "check": (
        "particles --poses --ctf -o --outdir --ind --datadir --invert-data -n --num-images "
        "--num-screened --accept --seed"
    ),
    "run": (
        "particles --poses --ctf -o --outdir --ind --datadir --quick --full --seed --zdim -D "
        "--qdim --pdim -b --lr -n --window-r --held-out --invert-data --uninvert-data"
    ),
    "nuisance": (
        "particles latents --poses --ctf -o --outdir --ind --datadir -n --num-images --seed"
    ),
    "select": (
        "run -o --coordinates --pc --labels --ind --num-original --clusters --box --outliers "
        "--all-of --any-of --none-of --invert --near --near-particle --random --count --seed"
    ),
    "export": "particles --ind -o --passthrough --labels --latents --table-ind",
    "simulate": (
        "models -o --outdir -n --num-images --seed -D --Apix --resolution --num-states "
        "--hinge-range --snr --shift --no-ctf --defocus --kv --cs -w --b-factor --white "
        "--float16 --tilt-deg"
    ),
}


FROZEN_FLAGS["eval_decoder"] = FROZEN_FLAGS["eval_vol"]
FROZEN_FLAGS["get_z_pcs"] = FROZEN_FLAGS["pc_traversal"]


# Flags of cryoDRGN's scripts and of its cryodrgn_utils come first, our additions after the bar.
FROZEN_TOOL_FLAGS: dict[str, str] = {
    "add_noise": "mrcs --snr --sigma --mask --mask-r --datadir -o --out-png | --seed",
    "add_psize": "input --Apix --apix --flip --invert -o",
    "align3d": (
        "ref vol -o --niter --max-D -rb -tb --t-extent --t-grid --r-resol --keep-r --keep-t "
        "--flip -v | --verbose"
    ),
    "align_poses": "ref poses -o --ind --same-hand --vol --ref-vol --out-vol",
    "clean": ("outglobs -n -f -v -d | --every-n-epochs --force --verbose --dry-run"),
    "concat_pkls": "input -o",
    "filter_cs": "particles --ind -o",
    "filter_mrcs": "input --ind -o | --datadir",
    "filter_pkl": "input --ind --first -o",
    "filter_star": "input --ind --et -m -o | --micrograph-files",
    "flip_hand": "input -o",
    "fsc": "vol1 vol2 --ref-volume --mask --corrected -p --plot --Apix -o",
    "gen_mask": "input output --threshold --dilate --dist --Apix -p | --png",
    "invert_contrast": "input -o",
    "kmeans": "z -k --stride -o --out-png --out-k --on-data | --seed",
    "phase_flip": "mrcs ctf_params --datadir -o",
    "plot_fsc": "input -a --Apix -t -o | --threshold",
    "plot_loss": "logs -o",
    "plot_z1": "z -o | --stride",
    "plot_z2": "z -o | --stride",
    "plot_z_pca": "z -o | --stride",
    "project3d": (
        "mrc -o --out-pose --out-png -N -b --t-extent --grid --tilt --seed -v | --verbose"
    ),
    "run_umap": "z --stride -o --show | --seed",
    "select_clusters": "labels --sel -o --parent-ind --N-orig",
    "select_random": "N -o -n --frac -s --seed",
    "translate_mrcs": "mrcs trans --tscale --datadir -o --out-png",
    "tsne": "z --stride -p -o | --perplexity --show --seed",
    "view_cs_header": "input",
    "view_header": "input",
    "view_mrcs": "input -o | --datadir",
    "write_star": "particles -o --ctf --poses --ind --datadir --full-path --relion30",
}
for alias, name in CRYODRGN_UTILS.aliases.items():
    FROZEN_TOOL_FLAGS[alias] = FROZEN_TOOL_FLAGS[name]


def flags(parser):
    found = {flag for a in parser._actions for flag in a.option_strings or [a.dest]}
    return found - {"-h", "--help"}


@pytest.mark.parametrize("command", subparsers())
def test_flags_match_the_frozen_list(command):
    frozen = set(FROZEN_FLAGS[command].replace("|", " ").split())
    assert flags(subparsers()[command]) == frozen


@pytest.mark.parametrize("command", subparsers(CRYODRGN_UTILS))
def test_flags_of_the_tools_match_the_frozen_list(command):
    frozen = set(FROZEN_TOOL_FLAGS[command].replace("|", " ").split())
    assert flags(subparsers(CRYODRGN_UTILS)[command]) == frozen
