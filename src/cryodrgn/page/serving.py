"""The server of the page: where it listens, and what it says to whoever started it."""

import contextlib
import getpass
import hashlib
import logging
import os
import socket
import sys
import threading
import uuid
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import torch

from cryodrgn.errors import ConfigError, MissingDependencyError
from cryodrgn.page.app import make_app
from cryodrgn.page.security import LOCAL_NAMES, Guard, new_token
from cryodrgn.page.shown_run import ShownRun

try:
    import uvicorn
except ImportError as error:
    message = "the page needs uvicorn; install it with: pip install 'cryodrgn[dashboard]'"
    raise MissingDependencyError(message) from error

logger = logging.getLogger(__name__)

# Ports that are tried one after another from the one asked for.
PORTS = 20
NICENESS = 10
EVERYWHERE = frozenset({"0.0.0.0", "::"})
# Ports of other services, on which no browser opens a page (Fetch Standard, "port blocking").
BLOCKED = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6679, 6697, 10080}
    | set(range(6665, 6670))
)


class PageServer:
    """The page of some runs, listening.

    Args:
        runs: Folders of the runs.
        host: Name or address to listen on.
        port: The first port to try; 0 takes any that is free.
        device: Where volumes are computed.

    Raises:
        InputFileError: A folder is no run.
        ConfigError: Nothing can listen there.
    """

    def __init__(
        self, runs: Sequence[Path], host: str, port: int, device: torch.device
    ) -> None:
        names = distinct_names([path.resolve() for path in runs])
        self.runs = [ShownRun(path, device, name) for path, name in names.items()]
        self._host = host
        self._socket = _listening(host, port)
        self.port = int(self._socket.getsockname()[1])
        self.token = new_token()
        hosts = {host.lower()}
        if host in EVERYWHERE:
            hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self.cookie = f"cryodrgn_{self.port}_{_mark_of_machine()}"
        guard = Guard(
            app=make_app(self.runs),
            token=self.token,
            cookie=self.cookie,
            names=frozenset(hosts),
        )
        config = uvicorn.Config(
            guard,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)

    @property
    def link(self) -> str:
        """The address with the token."""
        name = self._host if self._host.lower() in LOCAL_NAMES else socket.gethostname()
        if self._host not in LOCAL_NAMES | EVERYWHERE:
            name = self._host
        shown = f"[{name}]" if ":" in name else name
        return f"http://{shown}:{self.port}/?token={self.token}"

    def say_where(self) -> None:
        """Print the link, and the way to it from another machine."""
        logger.info("the page: %s", self.link)
        if self._host in LOCAL_NAMES:
            logger.info(
                "from another machine: ssh -L %d:127.0.0.1:%d %s@%s there, then open that link",
                self.port,
                self.port,
                getpass.getuser(),
                socket.gethostname(),
            )
        else:
            logger.warning(
                "whoever has the link can look at %s and compute on this machine; what travels "
                "is not encrypted",
                ", ".join(run.name for run in self.runs),
            )
        logger.info("it runs until Ctrl-C")

    def open_browser(self) -> None:
        """Open the link in a browser, if this machine has a screen."""
        has_screen = sys.platform in {"darwin", "win32"} or os.environ.get("DISPLAY")
        if has_screen and not os.environ.get("SSH_CONNECTION"):
            threading.Timer(0.5, webbrowser.open, [self.link]).start()

    def serve(self) -> None:
        """Answer until interrupted."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Answer no more."""
        self._server.should_exit = True


def serve_runs(
    runs: Sequence[Path], host: str, port: int, device: torch.device, *, with_browser: bool
) -> None:
    """Show the page of some runs until interrupted.

    Args:
        runs: Folders of the runs.
        host: Name or address to listen on.
        port: The first port to try.
        device: Where volumes are computed.
        with_browser: Whether to open a browser, if this machine has a screen.
    """
    server = PageServer(runs, host, port, device)
    give_way()
    server.say_where()
    if with_browser:
        server.open_browser()
    server.serve()


def give_way() -> None:
    """Leave the processors to other programs first: a training may be under way here."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(NICENESS)


def distinct_names(folders: Sequence[Path]) -> dict[Path, str]:
    """Names of folders, each once, by the last parts of their paths that tell them apart."""
    found = {}
    for folder in dict.fromkeys(folders):
        others = [other.parts for other in folders if other != folder]
        parts = folder.parts
        count = next(
            (n for n in range(1, len(parts)) if all(p[-n:] != parts[-n:] for p in others)),
            len(parts),
        )
        found[folder] = "/".join(parts[-count:])
    return found


def _mark_of_machine() -> str:
    """A mark by which cookies of servers on several machines differ, as tunnels lead to them.

    A browser keeps the cookies of all of them under the one name localhost, whatever the port.
    """
    machine = f"{uuid.getnode()} {socket.gethostname()}"
    return hashlib.sha256(machine.encode()).hexdigest()[:8]


def _listening(host: str, port: int) -> socket.socket:
    """A socket on the first port that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reason = "no port is free"
    for candidate in range(port, port + (PORTS if port else 1)):
        if candidate in BLOCKED:
            logger.info("port %d is passed over: no browser opens it", candidate)
            continue
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, candidate))
            listening.listen(128)
        except (OSError, OverflowError) as error:
            listening.close()
            reason = getattr(error, "strerror", None) or str(error)
        else:
            return listening
    last = port + PORTS - 1 if port else port
    msg = f"nothing can listen on {host}, ports {port} to {last}: {reason}; give another `port`"
    raise ConfigError(msg)
