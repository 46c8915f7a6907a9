"""Cost of the page to the training that it follows, on the machine that trains.

    python benchmarks/following.py [--particles 700] [--box 64] [--pairs 5] [--browser]

A network is trained, and its page is open during every other two epochs: it asks for progress
every two seconds, and after every epoch for the latents, a volume and the state of a particle,
as the page of a browser on another machine does. With --browser a Chromium asks that draws
without a graphics card on this machine, at the lowest priority. Prints medians over pairs of
epochs with and without the page.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

IN_A_ROW = 2
PROGRAM = [sys.executable, "-m", "cryodrgn"]


class Visitor:
    """The requests of an open page, from a thread."""

    def __init__(self, link):
        parts = urlsplit(link)
        self._place = parts.netloc
        self._token = parts.query.partition("=")[2]
        self._seen, self._epochs = "", []
        self._is_open = threading.Event()
        threading.Thread(target=self._live, daemon=True).start()

    def come(self):
        self._is_open.set()

    def go(self):
        self._is_open.clear()

    def cpu_seconds(self):
        return 0.0

    def _live(self):
        while True:
            self._is_open.wait()
            told = json.loads(self._get("progress", seen=self._seen))
            self._seen = told["stamp"]
            if told.get("epochs", self._epochs) != self._epochs:
                self._epochs = told["epochs"]
                self._refresh(self._epochs[-1])
            time.sleep(2)

    def _refresh(self, epoch):
        self._get("")
        self._get("columns", epoch=epoch)
        for name in ("PC1", "PC2"):
            self._get("column", group="latent", name=name, epoch=epoch)
        z = json.loads(self._get("latent", row=0, epoch=epoch))["z"]
        for side, precision in ((16, "half"), (32, "single")):
            asked = {"z": ",".join(map(str, z)), "side": side, "precision": precision}
            self._get("volume", epoch=epoch, **asked)

    def _get(self, what, **asked):
        line = http.client.HTTPConnection(self._place)
        path = f"/api/runs/0/{what}" if what else "/api/runs/0"
        line.request("GET", f"{path}?{urlencode({**asked, 'token': self._token})}")
        answer = line.getresponse()
        content = answer.read()
        line.close()
        assert answer.status == 200, (what, answer.status, content[:200])
        return content


class Browsing:
    """The page itself."""

    def __init__(self, browser, link):
        self._browser, self._link = browser, link

    def come(self):
        self._browser.open(self._link)
        self._browser.click("strip-go")

    def go(self):
        self._browser.driver.get("about:blank")

    def cpu_seconds(self):
        """Of all processes that the driver has begun."""
        parents = {}
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                after = status.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(status.parent.name)] = int(after[1])
        ours = {self._browser.driver.service.process.pid}
        while more := {one for one, parent in parents.items() if parent in ours} - ours:
            ours |= more
        return sum(cpu_seconds(process) for process in ours)


def main():
    from page.browser import browsing

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, default=700)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--browser", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = folder / "run"
        training = begin_training(folder, run, options)
        server, link = begin_page(run)
        os.nice(19)
        try:
            with browsing(folder) if options.browser else nullcontext() as browser:
                visitor = Browsing(browser, link) if browser else Visitor(link)
                measured = measure(visitor, server.pid, training.pid, run, options.pairs)
        finally:
            for process in (server, training):
                process.terminate()
                process.wait()
    report(measured)


def begin_training(folder, run, options):
    """A network in training, whose first epoch has ended."""
    made = ["simulate", "-D", options.box, "--Apix", 3, "-n", options.particles]
    subprocess.run(
        [*PROGRAM, *map(str, made), "-o", folder / "sim"], check=True, stdout=subprocess.DEVNULL
    )
    line = ["train_vae", folder / "sim/particles.star", "-o", run, "--zdim", 8]
    line += ["-n", (IN_A_ROW + 1) * (2 * options.pairs + 1) + 20]
    line += ["--qdim", 256, "--pdim", 256, "--checkpoint", 1]
    training = subprocess.Popen(
        [*PROGRAM, *map(str, line)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(epochs(run)) < 1:
        assert training.poll() is None
        time.sleep(0.5)
    return training


def begin_page(run):
    line = ["dashboard", run, "--no-browser", "--port", 0, "--device", "cpu"]
    server = subprocess.Popen(
        [*PROGRAM, *map(str, line)], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    return server, server.stdout.readline().split()[-1]


def measure(visitor, server, trainer, run, pairs):
    """Seconds of epochs, and those of processors of trainer, server, browser: (blocks, 4)."""

    def used():
        return np.array([cpu_seconds(trainer), cpu_seconds(server), visitor.cpu_seconds()])

    found = []
    for block in range(2 * pairs + 1):
        (visitor.come if block % 2 else visitor.go)()
        # The epoch in which the page is opened or closed does not count.
        begun = wait_for(run, len(epochs(run)) + 1)
        before = used()
        wait_for(run, begun + IN_A_ROW)
        spent = used() - before
        seconds = sum(e["seconds"] for e in epochs(run)[begun : begun + IN_A_ROW])
        found.append([seconds, *spent])
    return np.array(found)


def wait_for(run, count):
    while len(epochs(run)) < count:
        time.sleep(0.2)
    return count


def report(measured):
    without, with_page = measured[::2], measured[1::2]
    # A block with the page is compared with the mean of those before and after it.
    beside = np.array([(one + two) / 2 for one, two in pairwise(without)])
    ratios, epoch = with_page / beside, np.median(beside[:, 0]) / IN_A_ROW
    print(f"{len(ratios)} pairs of {IN_A_ROW} epochs of {epoch:.1f} s")
    for place, name in enumerate(("wall time", "the trainer's CPU time")):
        low, middle, high = np.percentile(ratios[:, place], [25, 50, 75])
        print(
            f"with the page, {name}: {100 * (middle - 1):+.1f} % ({100 * (low - 1):+.1f} to "
            f"{100 * (high - 1):+.1f})"
        )
    for place, name in ((2, "server"), (3, "browser")):
        share, idle = (np.median(b[:, place] / b[:, 0]) for b in (with_page, without))
        shown = f"{100 * share:.1f} % of a core, {100 * idle:.1f} % with no page open"
        print(f"the {name} took {shown}")


def epochs(run):
    path = run / "events.jsonl"
    if not path.exists():
        return []
    *lines, _ = path.read_text().split("\n")
    return [e for e in map(json.loads, lines) if e["event"] == "EpochFinished"]


def cpu_seconds(process):
    content = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(content[11]) + int(content[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
