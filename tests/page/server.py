"""A page's server that answers tests, and requests to it."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cryodrgn.page.serving import PageServer


@dataclass
class Answer:
    """What the server said."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self):
        return json.loads(self.content)

    @property
    def about(self):
        return json.loads(self.headers["x-about"])

    @property
    def numbers(self) -> np.ndarray:
        return np.frombuffer(self.content, "<f4")


class Client:
    """One who looks at a page."""

    def __init__(self, server: PageServer) -> None:
        self.server = server
        self.host = f"127.0.0.1:{server.port}"
        self.cookie = f"{server.cookie}={server.token}"

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: bytes = b"", **headers: str) -> Answer:
        return self.ask("POST", path, body, **headers)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers) -> Answer:
        """A request with what the page's own have, but for the headers given."""
        said = {"Host": self.host, "Cookie": self.cookie, "Origin": f"http://{self.host}"}
        said = {n: v for n, v in (said | headers).items() if v is not None}
        line = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if body is not None and "Content-Length" not in said:
                said["Content-Length"] = str(len(body))
            for name, value in said.items():
                line.putheader(name, value)
            line.endheaders(body)
            answer = line.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            line.close()


@contextmanager
def serving(*runs: Path) -> Iterator[Client]:
    """A server of some runs, while it lasts."""
    server = PageServer(runs, "127.0.0.1", 0, torch.device("cpu"))
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield Client(server)
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()
