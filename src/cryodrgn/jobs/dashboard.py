"""The page of runs in the browser: look, choose, and watch while they train."""

from collections.abc import Sequence
from pathlib import Path

from cryodrgn.jobs.options import DeviceOptions
from cryodrgn.settings import Check, Job, function_of, option, positional, settings

PORT = Check(words="from 0 to 65535", holds=lambda value: 0 <= value < 2**16)


@settings
class PageOptions(DeviceOptions):
    """Address of the page of runs."""

    host: str = option(
        "--host",
        default="127.0.0.1",
        help="Name or address to listen on; by default only this machine is answered",
    )
    port: int = option(
        "--port",
        default=5050,
        check=PORT,
        help="Port to listen on, or the next one that is free; 0 takes any",
    )
    no_browser: bool = option("--no-browser", default=False, help="Open no browser")

    def serve(self, runs: Sequence[Path]) -> None:
        """Answer browsers until interrupted.

        Raises:
            CryodrgnError: A folder is no run, or nothing can listen there.
        """
        from cryodrgn.devices import choose_device
        from cryodrgn.page.serving import serve_runs

        serve_runs(
            runs,
            self.host,
            self.port,
            choose_device(self.device),
            with_browser=not self.no_browser,
        )


@settings
class Dashboard(PageOptions, Job[None]):
    """Look at runs in the browser: latents, volumes, selections, training."""

    runs: tuple[Path, ...] = positional(
        nargs="+", metavar="RUN", help="Folders of training runs, finished or under way"
    )

    def run(self) -> None:
        """Show the page, see :meth:`serve`."""
        self.serve(self.runs)


dashboard = function_of(Dashboard)
