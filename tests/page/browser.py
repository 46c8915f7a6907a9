"""A real browser without a screen or a graphics card: Debian's Chromium."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FLAGS = """--headless=new --no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader
--ignore-gpu-blocklist --hide-scrollbars --disable-dev-shm-usage --disable-extensions
--disable-background-networking --no-first-run""".split()  # noqa: SIM905
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_S = 60.0


class Browser:
    """A browser with one window.

    Args:
        driver: Selenium's driver of it.
        folder: Where it keeps what it downloads.
    """

    def __init__(self, driver: Any, folder: Path) -> None:
        self.driver, self.folder = driver, folder

    def open(self, link: str) -> None:
        """Open a page of ours, and wait until it is ready."""
        # An address that differs in its fragment alone is not loaded again.
        self.driver.get("about:blank")
        self.driver.get(link)
        assert self.until("return document.body.dataset.ready") == "yes", self.said()

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def wait_for(self, expression: str) -> Any:
        """What a promise comes to."""
        script = f"const done = arguments[0]; ({expression}).then(done, (e) => done(String(e)))"
        return self.driver.execute_async_script(script)

    def until(self, script: str, patience: float = PATIENCE_S) -> Any:
        """What a script returns once that is true."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            found = self.run(script)
            if found:
                return found
            time.sleep(0.1)
        pytest.fail(f"never true: {script}; the page says: {self.said()}")

    def said(self) -> str:
        """Messages on the page, and errors in its console."""
        lines = [str(entry["message"]) for entry in self.driver.get_log("browser")]
        return "\n".join([self.text("messages"), *lines])

    def text(self, name: str) -> str:
        return self.run(f"return document.getElementById('{name}')?.innerText ?? ''")

    def click(self, name: str) -> None:
        self.run(f"document.getElementById('{name}').click()")

    def take(self, tool: str) -> None:
        """Take a tool for the particles."""
        self.run(f"document.querySelector('[data-tool={tool}]').click()")

    def choose(self, name: str, value: str) -> None:
        """Take an entry of a list, as one does with the pointer."""
        there = self.run(
            f"const list = document.getElementById('{name}'); list.value = arguments[0];"
            "list.dispatchEvent(new Event('change')); return list.value",
            value,
        )
        assert there == value, f"the list {name} has no entry {value}"

    def arrived(self, name: str) -> bytes:
        """The content of a download once it is whole; its name is free afterwards."""
        path, end = self.folder / name, time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            under_way = list(self.folder.glob("*.crdownload"))
            if path.is_file() and path.stat().st_size and not under_way:
                content = path.read_bytes()
                path.unlink()
                return content
            time.sleep(0.1)
        found = sorted(path.name for path in self.folder.iterdir())
        return pytest.fail(f"{name} has not come; there are {found}")

    def volume_at(self, x: float, y: float) -> tuple[int, np.ndarray]:
        """The particle nearest to a click among the particles, and its whole volume."""
        self.until("return document.getElementById('busy').innerText === ''")
        before = self.run("return page.volumes.turn")
        self.take("volume")
        self.drag("points", [(x, y), (x, y)])
        self.until(
            f"const v = page.volumes; return v.turn > {before} + 1 && v.shown.a.turn === v.turn"
            " && v.shown.a.side === page.run.box_size"
        )
        got = self.wait_for("page.volumes.shown.a.exact().then((v) => Array.from(v))")
        return self.run("return page.state.a.row"), np.array(got, dtype=np.float32)

    def touch(self, name: str, strokes: list[list[tuple[float, float]]]) -> None:
        """Put a finger down for every stroke, move them, and lift them one after another.

        Args:
            name: Of the element.
            strokes: Places of every finger, in pixels from the middle of the element; as many
                for each.
        """
        left, top = self.run(
            "const element = document.getElementById(arguments[0]);"
            "element.scrollIntoView({ block: 'center' });"
            "const box = element.getBoundingClientRect();"
            "return [box.left + box.width / 2, box.top + box.height / 2]",
            name,
        )

        def say(kind: str, step: int, fingers: list[int]) -> None:
            places = [(number, strokes[number][step]) for number in fingers]
            points = [{"id": n, "x": left + x, "y": top + y} for n, (x, y) in places]
            event = {"type": kind, "touchPoints": points}
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)

        hand = list(range(len(strokes)))
        for number in hand:
            say("touchStart", 0, hand[: number + 1])
        for step in range(1, len(strokes[0])):
            say("touchMove", step, hand)
        for number in hand:
            say("touchEnd", -1, hand[number + 1 :])

    def drag(self, name: str, path: list[tuple[float, float]]) -> None:
        """Press, move and release the pointer, at shares of an element's width and height."""
        from selenium.webdriver import ActionChains

        element = self.driver.find_element("id", name)
        size = element.size
        places = [
            (round((x - 0.5) * size["width"]), round((y - 0.5) * size["height"]))
            for x, y in path
        ]
        actions = ActionChains(self.driver, duration=10)
        actions.move_to_element_with_offset(element, *places[0]).click_and_hold()
        for place in places[1:]:
            actions.move_to_element_with_offset(element, *place)
        actions.release().perform()


@contextmanager
def browsing(folder: Path, size: str = "1000,800") -> Iterator[Browser]:
    """A browser, while it lasts.

    Args:
        folder: Where it keeps what it downloads.
        size: Of its window.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    helper = shutil.which("chromedriver")
    if program is None or helper is None:
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    for flag in [*FLAGS, f"--window-size={size}", f"--user-data-dir={folder}/profile"]:
        options.add_argument(flag)
    options.binary_location = program
    # Nobody is there to allow a second download.
    downloads = {"automatic_downloads": 1}
    options.add_experimental_option(
        "prefs",
        {
            "download.default_directory": str(folder),
            "profile.default_content_setting_values": downloads,
        },
    )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(helper))
    driver.set_script_timeout(PATIENCE_S)
    try:
        yield Browser(driver, folder)
    finally:
        driver.quit()
