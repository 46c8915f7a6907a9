"""Options and commands of other versions of cryoDRGN that are not here, and what to use."""

from collections.abc import Mapping

OPTIONS: Mapping[str, Mapping[str, str]] = {
    "eval_images": {
        "--random-tilts": "a trained model is asked about the best --ntilts images",
        **dict.fromkeys(
            ("--t-emb-dim", "--tlayers", "--tdim"), "the config of the run says them"
        ),
    },
}
PREPROCESSED = (
    "images transformed by `cryodrgn preprocess` cannot be read; give the original stack, "
    "which is prepared when the run begins"
)
ANYWHERE: Mapping[str, str] = {
    "--preprocessed": PREPROCESSED,
}
# Commands that are not here, by name, and what does their work.
COMMANDS: Mapping[str, str] = {
    "preprocess": "give the stack itself: images are prepared when a run begins",
    "abinit_tilt": "poses of tilt series are not searched here: refine them in RELION or M, "
    "and train on the particles that it writes",
}


def why_option_is_missing(command: str, option: str) -> str | None:
    """Why an option of another version is not here, and what to use; None if none has it."""
    return OPTIONS.get(command, {}).get(option) or ANYWHERE.get(option)
