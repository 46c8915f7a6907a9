"""The command line is a contract: a flag may be added, but none may change or go."""

import pytest

from command_line import subparsers

RUN = (
    "particles -o --outdir --poses --ctf --load --checkpoint --log-interval -v --verbose "
    "--seed | --overwrite --checkpoint-minutes -D --memory --cache-dir"
)
DATASET = (
    "--invert-data --window --ind --lazy --datadir | --uninvert-data --no-window --window-r"
)
TRAINING = (
    "-n --num-epochs -b --batch-size --wd --lr --norm "
    "| --precision --no-amp --device --multigpu"
)
POSES = "--do-pose-sgd --emb-type --pose-lr"
DECODER = "--pe-type --domain | --pe-dim --feat-sigma --activation"
OVERRIDES = (
    "--norm -D --zdim --qlayers --qdim --encode-mode --enc-mask --players --pdim --pe-type "
    "--domain --l-extent | --enc-layers --enc-dim --dec-layers --dec-dim --pe-dim --feat-sigma "
    "--activation"
)
# Flags of the cryoDRGN 0.2.0 documentation come first, our additions after the bar.
FROZEN_FLAGS: dict[str, str] = {
    "downsample": "mrcs -D -o --is-vol --chunk --datadir",
    "parse_pose_star": "input -D -o",
    "parse_pose_csparc": "input --abinit --hetrefine -D -o",
    "parse_ctf_star": "star --Apix -D -o --png --kv --cs -w --ps",
    "parse_ctf_csparc": "cs -o --png | -D --Apix",
    "backproject_voxel": (
        "particles --poses --ctf -o --invert-data --datadir --ind --first --tilt --tilt-deg "
        "| --ctf-alg --device"
    ),
    "train_vae": (
        f"{RUN} {DATASET} {TRAINING} {POSES} --pretrain {DECODER} --players --pdim --zdim "
        "--tilt --tilt-deg --beta --beta-control --qlayers --qdim --encode-mode --enc-mask "
        "--use-real | --init-z --init-epochs --enc-layers --enc-dim --dec-layers --dec-dim"
    ),
    "train_nn": (
        f"{RUN} {DATASET} {TRAINING} {POSES} --pretrain {DECODER} --layers --dim --l-extent"
    ),
    "train_dec": (
        f"{RUN} {DATASET} {TRAINING} {POSES} --pretrain-pose {DECODER} --layers --dim "
        "--l-extent --zdim --load-z --z-lr --pretrain-z"
    ),
    "eval_vol": (
        f"weights -c --config -o --prefix -v --verbose -z --z-start --z-end -n --zfile --Apix "
        f"--flip -d --downsample {OVERRIDES} | --invert --low-pass --crop --vol-start-index "
        "--device"
    ),
    "eval_images": (
        f"particles weights -c --config -o --poses --ctf --log-interval -b --batch-size --beta "
        f"-v --verbose --tilt --tilt-deg {DATASET} {OVERRIDES} | --out-z --device"
    ),
    "analyze": (
        "workdir epoch --device -o --outdir --skip-vol --skip-umap --Apix --flip -d "
        "--downsample | --invert --low-pass --crop --pc --n-per-pc --ksample --seed"
    ),
    "analyze_landscape": (
        "workdir epoch | --device -o --outdir --seed -N --sketch-size -d --downsample --Apix "
        "--flip --skip-vol --thresh --dilate --cosine-edge --mask --linkage -M --pc-dim "
        "--plot-dim"
    ),
    "analyze_landscape_full": (
        "workdir epoch | --device --landscape-dir -o --outdir --seed -N --training-volumes "
        "--skip-vol --batch-size --epochs --dim --layers --lr --skip-umap --num-neighbors"
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
    "simulate": (
        "models -o --outdir -n --num-images --seed -D --Apix --resolution --num-states "
        "--hinge-range --snr --shift --no-ctf --defocus --kv --cs -w --b-factor --white "
        "--float16"
    ),
}


FROZEN_FLAGS["eval_decoder"] = FROZEN_FLAGS["eval_vol"]
FROZEN_FLAGS["get_z_pcs"] = FROZEN_FLAGS["pc_traversal"]


@pytest.mark.parametrize("command", subparsers())
def test_flags_match_the_frozen_list(command):
    found = set()
    for action in subparsers()[command]._actions:
        found |= set(action.option_strings or [action.dest])
    frozen = set(FROZEN_FLAGS[command].replace("|", " ").split())
    assert found - {"-h", "--help"} == frozen
