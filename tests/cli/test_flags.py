"""The command line is a contract: a flag may be added, but none may change or go."""

import pytest

from command_line import subparsers
from cryodrgn.cli import ignored_flags as ignored
from cryodrgn.cli.main import main
from cryodrgn.cli.tools import CRYODRGN_UTILS

RUN = (
    "--box particles -o --outdir --poses --ctf --load --checkpoint --log-interval -v --verbose "
    "--seed --shuffle-seed | --overwrite --checkpoint-minutes -D --memory --cache-dir "
    "--ctf-applied"
)
SERIES = "--single-images --ntilts -d --dose-per-tilt -a --angle-per-tilt"
DATASET = (
    "--invert-data --window --ind --lazy --datadir "
    "| --uninvert-data --no-window --window-r --screen"
    f"| {SERIES}"
)
TRAINING = (
    "-n --num-epochs -b --batch-size --wd --lr --norm "
    "| --precision --no-amp --device --multigpu --curriculum --compile "
    "--deterministic"
)
LIKELIHOOD = "--noise-model --contrast --no-contrast --mask --focus-mask --consensus"
RECIPE = "--recipe --optimizer --lr-schedule --lr-warmup --average"
HELD_OUT = "--held-out --stop-when-converged --no-stop-when-converged"
POSES = "--do-pose-sgd --emb-type --pose-lr"
SEARCH = (
    "--box particles -o --outdir --ctf --load --load-poses --checkpoint --log-interval -v "
    "--verbose --seed --t-extent --t-ngrid --t-xshift --t-yshift --no-trans --pretrain "
    "--ps-freq --l-start --l-end --niter --nkeptposes --base-healpy --l-ramp-epochs --emb-type "
    "--pose-lr "
    "--shuffle-seed --no-trans-search-at-pose-search --n-imgs-pretrain --epochs-pose-search "
    "--epochs-sgd --reset-model-every --reset-optim-every --l-ramp-model --output-mask "
    "--max-freq --lr-pose-table --batch-size-sgd --window-radius-gt-real --hypervolume-domain "
    "| --overwrite --checkpoint-minutes -D --memory --cache-dir --starts --start-images "
    "--refine-epochs --ctf-applied "
) + " ".join(one.flag for one in ignored.SEARCH_FLAGS)
LATENT = (
    "--zdim --beta --beta-control --qlayers --qdim --encode-mode --enc-mask --use-real "
    "--players --pdim --initial-conf --std-z-init --lr-conf-table --enc-only --equivariance "
    "--eq-start-it --eq-end-it | --use-conf-encoder --z-lr --classes --references --enc-layers "
    "--enc-dim --dec-layers --dec-dim"
)
DECODER = "--pe-type --domain | --pe-dim --feat-sigma --activation --decoder"
OVERRIDES = (
    "--norm -D --zdim --qlayers --qdim --encode-mode --enc-mask --players --pdim --pe-type "
    "--domain --l-extent | --enc-layers --enc-dim --dec-layers --dec-dim --pe-dim --feat-sigma "
    "--activation"
)
# Flags of the cryoDRGN 0.2.0 documentation come first, our additions after the bar.
FROZEN_FLAGS: dict[str, str] = {
    "downsample": "mrcs -D -o --is-vol --chunk --datadir --ind | --screen --box",
    "parse_pose_star": "--Apix input -D -o",
    "parse_star": "input --poses --ctf --png -D --Apix --kv --cs -w --ps --overwrite",
    "parse_pose_csparc": "--Apix input --abinit --class --hetrefine -D -o",
    "parse_ctf_star": "star --Apix -D -o --png --kv --cs -w --ps",
    "parse_ctf_csparc": "cs -o --png | -D --Apix",
    "backproject_voxel": (
        "particles --poses --ctf -o --invert-data --datadir --ind --first --tilt --tilt-deg "
        "| --ctf-alg --device --screen --like --symmetry --ewald --box --ctf-applied "
        "--deterministic"
    ),
    "train_vae": (
        f"{RUN} {DATASET} {TRAINING} {POSES} --pretrain {DECODER} --players --pdim --zdim "
        "--tilt --tilt-deg --beta --beta-control --qlayers --qdim --encode-mode --enc-mask "
        f"--use-real | {HELD_OUT} {LIKELIHOOD} {RECIPE} --encoder-inputs --from "
        "--train-volumes --init-z --init-epochs --enc-layers --enc-dim --dec-layers --dec-dim "
        "--random-tilts --t-emb-dim --tlayers --tdim"
    ),
    "train_nn": (
        f"{RUN} {DATASET} {TRAINING} {POSES} --pretrain {DECODER} --layers --dim --l-extent "
        f"| {HELD_OUT} {LIKELIHOOD} {RECIPE}"
    ),
    "train_dec": (
        f"{RUN} {DATASET} {TRAINING} {POSES} --pretrain-pose {DECODER} --layers --dim "
        f"--l-extent --zdim --load-z --z-lr --pretrain-z | --random-tilts --from "
        f"--train-volumes {LIKELIHOOD} {RECIPE}"
    ),
    "abinit_homo": f"{SEARCH} {DATASET} {TRAINING} {DECODER} --layers --dim --l-extent",
    "abinit_het": f"{SEARCH} {DATASET} {TRAINING} {DECODER} {LATENT}",
    "abinit": f"{SEARCH} {DATASET} {TRAINING} {DECODER} {LATENT} --layers --dim",
    "eval_vol": (
        f"weights -c --config -o --prefix -v --verbose -z --z-start --z-end -n --zfile --Apix "
        f"--flip -d --downsample {OVERRIDES} | --invert --low-pass --crop --vol-start-index "
        "--device --multigpu --like --compile"
    ),
    "eval_images": (
        f"particles weights -c --config -o --poses --ctf --log-interval -b --batch-size --beta "
        f"-v --verbose --tilt --tilt-deg {DATASET} {OVERRIDES} | --out-z --device "
        "--ctf-applied --box"
    ),
    "doctor": "--device",
    "benchmark": "--json --boxes --batches --widths --seconds --steps-only --device",
    "analyze": (
        "workdir epoch --device -o --outdir --skip-vol --skip-umap --Apix --flip -d "
        "--downsample | --invert --low-pass --crop --pc --n-per-pc --ksample --seed --multigpu "
        "--like --compile"
    ),
    "analyze_landscape": (
        "workdir epoch | --device -o --outdir --seed -N --sketch-size -d --downsample --Apix "
        "--flip --skip-vol --thresh --dilate --cosine-edge --mask --linkage -M --pc-dim "
        "--plot-dim --like --compile"
    ),
    "analyze_landscape_full": (
        "workdir epoch | --device --landscape-dir -o --outdir --seed -N --training-volumes "
        "--flip -d --skip-vol --batch-size --epochs --dim --layers --lr --num-neighbors "
        "--resolution | --skip-umap --downsample --compile"
    ),
    "pc_traversal": "z --dim -n --lim -o | --pc --use-percentile-spacing --outdir",
    "direct_traversal": "zfile --anchors -n --loop -o --outtxt",
    "graph_traversal": (
        "data --anchors --max-neighbors --avg-neighbors --batch-size --max-images -o --out-z "
        "| --outind --outtxt -v --verbose"
    ),
    "train_linear": (
        f"particles -o --outdir --poses --ctf --seed --overwrite --box {DATASET} --tilt "
        "--tilt-deg -D --memory --cache-dir --components --radius --fit-images --contrast "
        "--refine-poses --mask --focus-mask --device --symmetry --ewald --ctf-applied "
        "--no-contrast --deterministic"
    ),
    "reconstruct_states": (
        f"workdir epoch -o --outdir -z --zfile --num-states --method --functions --mask --seed "
        f"--latents --particles --poses --ctf {DATASET} -D --memory --cache-dir --device "
        "--like --symmetry --ewald --stable --ctf-applied --box --deterministic"
    ),
    "conformational_density": (
        "workdir epoch -o --outdir --dims --anchors --bootstraps --seed | --labels"
    ),
    "dashboard": "runs --host --port --no-browser --device",
    "filter": (
        "outdir -e --epoch -k --kmeans -f --force --plot-inds --sel-dir "
        "| --clusters --outliers --name --host --port --no-browser --device"
    ),
    "demo": "-o --outdir --seed",
    "check": (
        "particles --poses --ctf -o --outdir --ind --datadir --invert-data -n --num-images "
        "--num-screened --accept --seed --box --ctf-applied"
    ),
    "run": (
        "particles --poses --ctf -o --outdir --ind --datadir --quick --full --seed --zdim -D "
        "--qdim --pdim -b --lr -n --window-r --held-out --invert-data --uninvert-data --box "
        "--rounds --ctf-applied --symmetry"
    ),
    "compare_models": "runs --device -o --output --outfile --outcsv --seed",
    "power": (
        "particles --poses --ctf -o --outdir --ind --datadir --invert-data --uninvert-data "
        "--window --no-window --window-r --lazy --device --seed -D --consensus --shares "
        "--noise --trials --model --chains --mask --domain-kda --axis --motions --components "
        "--radius --fit-images --screen --plant --judge --ctf-applied --box"
    ),
    "nuisance": (
        "particles latents --poses --ctf -o --outdir --ind --datadir --screen -n --num-images "
        "--seed --box --ctf-applied"
    ),
    "select": (
        "run -o --coordinates --pc --labels --ind --num-original --clusters --box --outliers "
        "--all-of --any-of --none-of --invert --near --near-particle --random --count --seed "
        "--particles --ctf --datadir --pixel-size --from --feature --absent --probability "
        "--like --device"
    ),
    "export": (
        "particles --ind -o --passthrough --labels --latents --scores --table-ind "
        "--chosen-from --expanded --copies --single-images"
    ),
    "expand": "particles --symmetry -o --passthrough",
    "simulate": (
        "models -o --outdir -n --num-images --seed -D --Apix --resolution --num-states "
        "--hinge-range --snr --shift --no-ctf --defocus --kv --cs -w --b-factor --white "
        "--float16 --tilt-deg "
        "| --tilt-series --tilt-range --tilt-step --dose-per-tilt --per-tomogram --device "
        "--overwrite"
    ),
}


# Flags of 4.x that joined later, and longer names.
LATER_NAMES: dict[str, str] = {
    "downsample": (
        "--batch-size --max-threads --outdir --outfile --outmrc --output --relion31 -b"
    ),
    "parse_pose_star": "--outfile --outpkl --output",
    "parse_pose_csparc": "--outfile --outpkl --output",
    "parse_ctf_star": "--outfile --outpkl --output",
    "parse_ctf_csparc": "--outfile --outpkl --output",
    "backproject_voxel": (
        "--batch-size --lazy --log-interval --max-threads --no-fsc-vals --no-half-maps "
        "--reg-weight --output-sumcount --outdir --relion31 --uninvert-data -b"
    ),
    "train_vae": "--amp --max-threads --no-analysis --num-workers --preprocessed --relion31 "
    "--shuffler-size",
    "train_dec": "--amp --max-threads --no-analysis --num-workers --preprocessed --relion31 "
    "--shuffler-size",
    "train_nn": "--amp --max-threads --no-analysis --num-workers --preprocessed --relion31 "
    "--shuffler-size",
    "analyze": "--vol-start-index",
    "analyze_landscape": "--multigpu --skip-umap --vol-ind --vol-start-index",
    "analyze_landscape_full": "--test-batch-size",
    "eval_vol": "--outfile --outmrc --output --use-real",
    "eval_images": (
        "--max-threads --num-workers --outfile --outpkl --output --relion31 --use-real"
    ),
    "select": "--outfile --outpkl --output",
    "export": "--outfile --output --outstar",
    "expand": "--outfile --output --outstar",
}
for name in ("backproject_voxel", "check", "run", "nuisance", "power"):
    FROZEN_FLAGS[name] += f" {SERIES}"
FROZEN_FLAGS["backproject_voxel"] += " --force-ntilts"
for name, later in LATER_NAMES.items():
    FROZEN_FLAGS[name] += f" {later}"

FROZEN_FLAGS["eval_decoder"] = FROZEN_FLAGS["eval_vol"]
FROZEN_FLAGS["get_z_pcs"] = FROZEN_FLAGS["pc_traversal"]
for kind in ("homo", "het"):
    FROZEN_FLAGS[f"abinit_{kind}_old"] = FROZEN_FLAGS[f"abinit_{kind}"]


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
    "postprocess": (
        "half1 half2 | -o --outdir --mask --b-factor --fit-from --no-local --Apix --seed"
    ),
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
    "analyze_convergence": (
        "workdir epoch -o --outdir --epoch-interval --force-umap-cpu --subset --random-seed "
        "--random-state --n-epochs-umap --skip-umap --n-bins --smooth --smooth-width "
        "--pruned-maxima --radius --final-maxima --Apix --flip --invert -d --downsample "
        "--device --skip-volgen --max-threads --thresh --dilate --dist "
        "| --low-pass --crop --like"
    ),
    "make_movies": (
        "workdir epoch kind --camera --iso --frame --name --width --height --analysis-dir "
        "--landscape-dir"
    ),
    "plot_classes": (
        "workdir epoch --labels --plot-types --palette -o --outdir --skip-umap --svg | --seed"
    ),
    "view_config": "config",
    "make_train_test": "N -o --out-test --frac --seed --outfile --outpkl --output",
    "write_cs": (
        "particles -o --ctf --poses --ind --datadir --full-path --outcs --outfile --output "
        "--ctf-applied"
    ),
    "parse_relion": "-t --tomograms -p --particles --tilt-dim -o --box",
    "write_star": (
        "particles -o --ctf --poses --ind --datadir --full-path --relion30 --ctf-applied"
    ),
}
MARKS = "--ms --alpha --ylim --color --kde --axis --sample1 --sample2 --seed --out-s --annotate"
LATER_TOOL_NAMES: dict[str, str] = {
    "view_mrcs": "--ind --invert --out-png --outfile --output",
    "view_header": "--outfile --output --outtxt -o",
    "phase_flip": "--outfile --outmrc --output",
    "translate_mrcs": "--outfile --outmrc --output",
    "add_noise": "--outfile --outmrc --output",
    "filter_mrcs": "--outfile --outmrc --output",
    "filter_star": "--outfile --output --outstar",
    "filter_cs": "--outcs --outfile --output",
    "filter_pkl": "--outfile --outpkl --output",
    "concat_pkls": "--outfile --outpkl --output",
    "select_clusters": "--outfile --outpkl --output",
    "select_random": "--outfile --outpkl --output",
    "parse_relion": "--outfile --output --outstar",
    "write_star": "--outfile --output --outstar",
    "add_psize": "--outfile --outmrc --output",
    "flip_hand": "--outfile --outmrc --output",
    "invert_contrast": "--outfile --outmrc --output",
    "gen_mask": "--png-output",
    "fsc": "--outfile --output --outtxt",
    "plot_fsc": "--out-png --outfile --output",
    "align3d": "--outfile --outmrc --output",
    "align_poses": "--outfile --outpkl --output",
    "project3d": "--outfile --outmrc --output",
    "plot_loss": "--out-png --outfile --output",
    "kmeans": "--out-k-ind --outfile --outpkl --output --reorder",
    "run_umap": "--outfile --outpkl --output",
    "tsne": "--outfile --outpkl --output",
    "plot_z1": f"--out-png --outfile --output {MARKS}",
    "plot_z2": f"--out-png --outfile --output {MARKS}",
    "plot_z_pca": f"--out-png --outfile --output {MARKS}",
}
for name, later in LATER_TOOL_NAMES.items():
    FROZEN_TOOL_FLAGS[name] += f" {later}"
for alias, name in CRYODRGN_UTILS.aliases.items():
    FROZEN_TOOL_FLAGS[alias] = FROZEN_TOOL_FLAGS[name]


def positional(action):
    name = action.metavar or ""
    return name if name.islower() or len(name) == 1 else action.dest


def flags(parser):
    found = {flag for a in parser._actions for flag in a.option_strings or [positional(a)]}
    # What every command has.
    return found - {"-h", "--help", "--compat"}


@pytest.mark.parametrize("command", subparsers())
def test_flags_match_the_frozen_list(command):
    frozen = set(FROZEN_FLAGS[command].replace("|", " ").split())
    assert flags(subparsers()[command]) == frozen


# The options of the commands of later versions that search for poses, with a value each.
SHARED = (
    "--ctf c.pkl --datadir d --ind i.pkl --relion31 --uninvert-data --lazy --max-threads 16 "
    "--load-poses p.pkl --seed 1 -v --log-interval 1000 --checkpoint 1 -n 30 --multigpu --wd 0 "
    "--no-amp --lr 1e-4 --pe-dim 64 --feat-sigma .5 --pe-type gaussian --l-start 12 --l-end 32 "
    "--niter 4 --nkeptposes 8 --base-healpy 2 --t-extent 10 --t-ngrid 7 --t-xshift 0 "
    "--t-yshift 0 --norm 0 1 --no-analysis"
)
OLD = (
    "--load latest --shuffle-seed 1 --tilt t.mrcs --tilt-deg 45 -b 16 --pretrain 10000 "
    "--ps-freq 5 --reset-model-every 2 --reset-optim-every 2 --reset-optim-after-pretrain "
    "--pose-model-update-freq 100 --domain hartley --l-ramp-epochs 25 --num-workers 2 "
    "--shuffler-size 0 --no-window --activation relu"
)
LATER_FLAGS = {
    "abinit_homo": (
        f"{SHARED} {OLD} --no-trans --probabilistic --l-extent .5 --layers 3 --dim 256"
    ),
    "abinit_het": (
        f"{SHARED} {OLD} --zdim 8 --l-ramp-model 0 --enc-only --beta 1 --beta-control 1 "
        "--equivariance 1 --eq-start-it 1e5 --eq-end-it 2e5 --enc-layers 3 --enc-dim 256 "
        "--encode-mode conv --enc-mask 20 --use-real --dec-layers 3 --dec-dim 256"
    ),
    "abinit": (
        f"{SHARED} --zdim 0 --load w.pkl --verbose-time --epochs-pose-search 3 --epochs-sgd 20 "
        "--n-imgs-pose-search 1 --n-imgs-pretrain 10000 --pose-only-phase 0 --no-shuffle "
        "--num-workers 2 --shuffler-size 32768 --batch-size-hps 16 --batch-size-known-poses 64 "
        "--batch-size-sgd 128 --lr-pose-table 1e-3 --lr-conf-table 1e-2 --lr-conf-encoder 1e-4 "
        "--hypervolume-optimizer-type adam --pose-table-optimizer-type lbfgs "
        "--conf-table-optimizer-type adam --conf-encoder-optimizer-type adam "
        "--output-mask circ --add-one-frequency-every 100000 --n-frequencies-per-epoch 10 "
        "--max-freq 20 --window-radius-gt-real .85 --beta-conf 0 --trans-l1-regularizer 0 "
        "--l2-smoothness-regularizer 0 --variational-het --std-z-init .1 --use-conf-encoder "
        "--depth-cnn 5 --channels-cnn 32 --kernel-size-cnn 3 --resolution-encoder 64 "
        "--explicit-volume --layers 3 --dim 256 --hypervolume-domain hartley --pe-type-conf "
        "geom --initial-conf z.pkl --no-trans-search-at-pose-search --no-trans"
    ),
}


@pytest.mark.parametrize("command", LATER_FLAGS)
def test_every_flag_of_later_searches_parses(command):
    words = ["particles.mrcs", "-o", "out", *LATER_FLAGS[command].split()]
    args = subparsers()[command].parse_args(words)
    if command == "abinit":
        assert (args.batch_size, args.window_radius, args.domain) == (128, 0.85, "hartley")
        assert (args.decoder_layers, args.decoder_dim, args.refine_epochs) == (3, 256, 20)


def test_a_flag_without_effect_says_why(tmp_path, capfd):
    line = ["abinit", "no.mrcs", "-o", str(tmp_path), "--zdim", "0", "--tilt-deg", "40"]
    assert main(line) == 2
    said = capfd.readouterr().err.splitlines()
    assert said[0] == (
        "warning: --tilt-deg has no effect: poses are searched with the untilted images alone"
    )
    flags = [one.flag for one in ignored.SEARCH_FLAGS]
    assert len(set(flags)) == len(flags)


@pytest.mark.parametrize("command", subparsers(CRYODRGN_UTILS))
def test_flags_of_the_tools_match_the_frozen_list(command):
    frozen = set(FROZEN_TOOL_FLAGS[command].replace("|", " ").split())
    assert flags(subparsers(CRYODRGN_UTILS)[command]) == frozen
