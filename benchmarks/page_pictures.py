"""The pictures of docs/dashboard.md, of the page as it looks now.

    python benchmarks/page_pictures.py [--work FOLDER]

simulates particles of the built-in molecule, fits them (linear model, states), and photographs
the page in Chromium. Runs that are in the folder already are taken as they are.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

PICTURES = Path(__file__).parent.parent / "docs" / "dashboard"
LINES = {
    "sim": "simulate -o sim -n 3000 -D 64 --Apix 3 --num-states 40 --hinge-range 160 --seed 1",
    "linear": "train_linear sim/particles.star -o linear --seed 1",
    "states": "reconstruct_states linear --num-states 3 -o states",
    "linear/analyze": "analyze linear -1",
}
AROUND = [(0.05, 0.1), (0.35, 0.1), (0.45, 0.4), (0.4, 0.9), (0.05, 0.9)]


def main() -> None:
    """Make the runs, then the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="folder of the runs (default: one for now)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = args.work or Path(name)
        for made, line in LINES.items():
            if not (work / made).exists():
                subprocess.run([*_program(), *line.split()], cwd=work, check=True)
        line = "dashboard states linear --no-browser --port 0 --device cpu"
        words = [*_program(), *line.split()]
        server = subprocess.Popen(words, cwd=work, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            _photograph(server.stdout.readline().split()[-1], Path(name))
        finally:
            server.terminate()
            server.wait()


def _program() -> list[str]:
    return [sys.executable, "-m", "cryodrgn"]


def _photograph(link: str, folder: Path) -> None:
    from page.browser import browsing

    with browsing(folder, size="1200,950") as browser:
        browser.open(link)
        _choose(browser, "colour", "k-means")
        _set(browser, "k", 5)
        browser.drag("points", AROUND)
        browser.until("return page.latent.mask")
        browser.volume_at(0.85, 0.5)
        browser.click("keep-b")
        browser.volume_at(0.15, 0.5)
        _take(browser, "page")

        browser.click("clear")
        _choose(browser, "colour", "density")
        _choose(browser, "maps", "state_000_sharpened.mrc")
        _choose(browser, "tint", "map:state_000_local_resolution.mrc")
        browser.until("return page.volumes.a.tint")
        _take(browser, "local_resolution")

        browser.choose("run", "1")
        browser.until("return page.run.name === 'linear'")
        browser.click("theme")
        browser.take("path")
        for x, y in ((0.2, 0.6), (0.5, 0.3), (0.8, 0.6)):
            browser.drag("points", [(x, y), (x, y)])
        browser.click("play")
        browser.until("return document.getElementById('frame').max > 5")
        _take(browser, "dark")


def _choose(browser: Any, field: str, words: str) -> None:
    """Take the first entry of a list whose text or value has these words."""
    value = browser.until(
        f"return [...document.getElementById({field!r}).options].find((entry) =>"
        f" (entry.text + ' ' + entry.value).includes({words!r}))?.value"
    )
    browser.choose(field, value)


def _set(browser: Any, field: str, value: int) -> None:
    """Type a number into a field."""
    browser.run(
        f"const field = document.getElementById({field!r}); field.value = {value};"
        "field.dispatchEvent(new Event('change'))"
    )
    browser.until(f"return document.getElementById('legend').children.length === {value}")


def _take(browser: Any, name: str) -> None:
    browser.until("return document.getElementById('busy').innerText === ''")
    browser.wait_for("new Promise((done) => setTimeout(done, 1500))")
    browser.driver.save_screenshot(str(PICTURES / f"{name}.png"))


if __name__ == "__main__":
    main()
