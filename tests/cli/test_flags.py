"""The command line is a contract: a flag may be added, but none may change or go."""

import pytest

from command_line import subparsers

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
        "particles -o --outdir --zdim --poses --ctf --checkpoint --log-interval -v --verbose "
        "--seed --invert-data --window --ind --datadir -n --num-epochs -b --batch-size --wd "
        "--lr --beta --norm --qlayers --qdim --encode-mode --enc-mask --players --pdim "
        "--pe-type --domain | --enc-layers --enc-dim --dec-layers --dec-dim --pe-dim "
        "--feat-sigma --activation --precision --device"
    ),
    "eval_vol": (
        "weights -c --config -o --prefix -v --verbose -z --z-start --z-end -n --zfile --Apix "
        "--flip -d --downsample --norm -D --zdim --qlayers --qdim --encode-mode --enc-mask "
        "--players --pdim --pe-type --domain | --invert --low-pass --crop --vol-start-index "
        "--enc-layers --enc-dim --dec-layers --dec-dim --pe-dim --feat-sigma --activation "
        "--device"
    ),
    "demo": "-o --outdir --seed",
    "simulate": (
        "models -o --outdir -n --num-images --seed -D --Apix --resolution --num-states "
        "--hinge-range --snr --shift --no-ctf --defocus --kv --cs -w --b-factor --white "
        "--float16"
    ),
}


FROZEN_FLAGS["eval_decoder"] = FROZEN_FLAGS["eval_vol"]


@pytest.mark.parametrize("command", subparsers())
def test_flags_match_the_frozen_list(command):
    found = set()
    for action in subparsers()[command]._actions:
        found |= set(action.option_strings or [action.dest])
    frozen = set(FROZEN_FLAGS[command].replace("|", " ").split())
    assert found - {"-h", "--help"} == frozen
