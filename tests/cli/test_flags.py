"""The command line is a contract: a flag may be added, but none may change or go."""

import pytest

from command_line import subparsers

# Flags of the cryoDRGN 0.2.0 documentation come first, our additions after the bar.
FROZEN_FLAGS = {
    "downsample": "mrcs -D -o --is-vol --chunk --datadir",
    "parse_pose_star": "input -D -o",
    "parse_pose_csparc": "input --abinit --hetrefine -D -o",
    "parse_ctf_star": "star --Apix -D -o --png --kv --cs -w --ps",
    "parse_ctf_csparc": "cs -o --png | -D --Apix",
    "backproject_voxel": (
        "particles --poses --ctf -o --invert-data --datadir --ind --first --tilt --tilt-deg "
        "| --ctf-alg --device"
    ),
    "simulate": (
        "models -o --outdir -n --num-images --seed -D --Apix --resolution --num-states "
        "--hinge-range --snr --shift --no-ctf --defocus --kv --cs -w --b-factor --white "
        "--float16"
    ),
}


@pytest.mark.parametrize("command", subparsers())
def test_flags_match_the_frozen_list(command):
    found = set()
    for action in subparsers()[command]._actions:
        found |= set(action.option_strings or [action.dest])
    frozen = set(FROZEN_FLAGS[command].replace("|", " ").split())
    assert found - {"-h", "--help"} == frozen
