"""The page at the end of a run: verdicts first, then all that was made."""

from collections.abc import Mapping
from typing import Any

from cryodrgn.analysis.report import HtmlReport
from cryodrgn.analysis.run_report import add_analysis
from cryodrgn.io.run_config import load_run_config
from cryodrgn.io.text import read_json
from cryodrgn.rundir import RunDirectory, WholeRunFiles
from cryodrgn.training.epoch_records import exchange_of, read_records, verdict_of
from cryodrgn.training.run_log import model_choice_in_words

# What each step does with a symmetry, by its point group and the file that has none yet.
SYMMETRY = (
    "{group}: images are added at all mates in the consensus map and its half maps{linear}. "
    "The network knows no symmetry: it learns every image at its own pose alone. For motions "
    "of single subunits run on the file that cryodrgn expand FILE --symmetry {group} -o "
    "expanded.star writes."
)
LINEAR = ", and in the linear model, which finds motions of all subunits together"
# What the latent of a network is in which no heterogeneity was found, and not found yet.
NOISE = (
    "without heterogeneity it describes the noise of single images; what changes along its "
    "axes is no structure."
)
TOO_EARLY = (
    "as long as no heterogeneity is found, it may describe nothing but the noise of single "
    "images; train for more epochs before anything is read from its axes."
)


def write_run_page(
    files: WholeRunFiles, manifest: Mapping[str, Any], symmetry: str | None = None
) -> str:
    """Write the page from the files of all steps.

    Args:
        files: Where they are.
        manifest: What is recorded of the run.
        symmetry: Point group of the map; None without one.

    Returns:
        What was found, in words.
    """
    verdicts = verdicts_of(files)
    if symmetry is not None:
        linear = LINEAR if "Linear model" in verdicts else ""
        verdicts["Symmetry"] = SYMMETRY.format(group=symmetry, linear=linear)
    page = HtmlReport(f"{files.path.resolve().name}: from particles to states")
    for name, sentence in verdicts.items():
        page.verdict(f"{name}: {sentence}")
    page.heading("What was chosen, and why")
    page.table(
        [
            (option, "" if entry["value"] is None else f"{entry['value']:g}", entry["reason"])
            for option, entry in manifest["choices"].items()
        ]
    )
    page.heading("Pages and files")
    page.table(_places(files))
    add_analysis(page, files.analysis)
    page.heading("The steps")
    page.commands([step["command"] for step in manifest["steps"].values()])
    page.write(files.report)
    return "\n".join(f"{name}: {sentence}" for name, sentence in verdicts.items())


def verdicts_of(files: WholeRunFiles) -> dict[str, str]:
    """Verdicts of all steps, in words."""
    found = {"Particles": read_json(files.check.json)["verdict"]}
    linear = last_linear(files)
    if linear.config_yaml.is_file():
        record = load_run_config(linear.config_yaml)["training"]
        found["Linear model"] = f"{record['verdict']}."
        if "poses" in record:
            found["Poses"] = f"{record['poses']}."
        found["Junk"] = f"{_junk_in_words(files, record['junk'])}."
    records = read_records(files.training.convergence)
    if records:
        found["Training"] = f"{verdict_of(records)}."
    choice = model_choice_in_words(files.training.events)
    if choice:
        found["Which model"] = f"{choice}."
    exchange = exchange_of(records) if records else None
    if exchange is not None and not exchange.is_suspected:
        # An encoder gives the noise of an image a latent, too, which that image then confirms.
        found["Latent"] = NOISE if any(record.converged for record in records) else TOO_EARLY
    else:
        found["Latent"] = read_json(files.nuisance.json)["verdict"]
    return found


def last_linear(files: WholeRunFiles) -> RunDirectory:
    """The last of the linear runs, of as many rounds as there were."""
    numbers = WholeRunFiles.linear_round.numbers(files)
    return files.linear_round(max(numbers)) if numbers else files.linear


def _junk_in_words(files: WholeRunFiles, last: str) -> str:
    """Sentence on the particles that looked like junk, over all rounds."""
    if last_linear(files).path == files.linear.path:
        return last
    before = (
        files.linear.path,
        *(files.linear_round(n).path for n in WholeRunFiles.linear_round.numbers(files)[:-1]),
    )
    left_out = sum(
        load_run_config(RunDirectory(path).config_yaml)["training"]["num_junk"]
        for path in before
    )
    return f"{left_out} particles that looked like junk were left out; of the others, {last}"


def _places(files: WholeRunFiles) -> list[tuple[str, str]]:
    places = {
        "the check": files.check.page,
        "what the latent follows": files.nuisance.page,
        "the analysis": files.analysis.report,
        "a first map": files.check.map,
        "the map with its symmetry": files.consensus.volume,
        "its half maps' correlation": files.consensus.fsc_text,
        "the mean map of the linear model": last_linear(files).linear.mean,
        "particles that look like junk": last_linear(files).judged.picture,
        "the trained model": files.training.weights(),
        "latents of all particles": files.training.latents(),
        "versions, seed, inputs, choices": files.manifest,
    }
    return [
        (name, str(path.relative_to(files.path)))
        for name, path in places.items()
        if path.is_file()
    ]
