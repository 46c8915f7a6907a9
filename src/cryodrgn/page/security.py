"""Guard of the page's server: who is answered, what is taken, and what browsers may do with it.

The server reads files of the user and computes for whoever asks, so it answers only those who
know its token, on names under which it is known, and takes changes only from its own page.
"""

import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Names of this machine that no other machine's name server can give away.
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
# Selections of all rows of ten million particles, 4 bytes each.
MOST_BYTES = 40_000_000
LONGEST_QUERY = 16_384
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


def new_token() -> str:
    """A token that nobody can guess: 192 random bits."""
    return secrets.token_urlsafe(24)


class Refusal(Exception):  # noqa: N818 (an answer, not a fault)
    """A request that is not answered.

    Args:
        status: The status of HTTP.
        reason: Why, in one sentence.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Guard:
    """Middleware that lets only the page's own requests through.

    Attributes:
        app: What answers them.
        token: Known to whoever was given the link.
        cookie: Name of the cookie that holds it after the first request.
        names: Host names under which the server is reached, beside those of this machine.
        most_bytes: Size of the largest request that is taken.
    """

    app: App
    token: str
    cookie: str
    names: frozenset[str] = field(default_factory=frozenset)
    most_bytes: int = MOST_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        begun = False

        async def answered(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = self._with_headers(message, scope)
            await send(message)

        try:
            self._require_own(scope)
            await self.app(scope, self._bounded(receive), answered)
        except Refusal as refusal:
            if not begun:
                await _refuse(refusal, answered, is_read="text/html" in _accepted(scope))

    def _require_own(self, scope: Scope) -> None:
        """Refuse a request that does not come from the page.

        Raises:
            Refusal: Its method, host, origin, size or token is none of the page's.
        """
        headers = _headers(scope)
        if scope["method"] not in {"GET", "HEAD", "POST"}:
            raise Refusal(405, "only GET and POST are answered")
        if len(scope.get("query_string", b"")) + len(scope["path"]) > LONGEST_QUERY:
            raise Refusal(414, f"the address is longer than {LONGEST_QUERY} characters")
        host = headers.get("host", "")
        if _name_of(f"//{host}") not in LOCAL_NAMES | self.names:
            raise Refusal(
                403,
                "this server is not known by that name: open it as localhost, or start it with "
                "cryodrgn dashboard --host and the name",
            )
        self._require_same_origin(scope["method"], headers, host)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.most_bytes:
            raise Refusal(413, f"a request may have {self.most_bytes} bytes at most")
        if not self._knows_token(scope, headers):
            raise Refusal(
                401,
                "the token is missing or another server's: open the link that cryodrgn "
                "dashboard printed when it was started",
            )

    @staticmethod
    def _require_same_origin(method: str, headers: dict[str, str], host: str) -> None:
        """Refuse what another page asks for, and changes that nobody stands for."""
        origin = headers.get("origin")
        # Behind a tunnel or a proxy with TLS, the scheme is another, the name is not.
        named = None if origin is None else _place_of(origin)
        is_foreign = method == "POST" if origin is None else named != host.lower()
        if is_foreign:
            raise Refusal(403, "the request comes from another page than this server's")

    def _knows_token(self, scope: Scope, headers: dict[str, str]) -> bool:
        """True if the cookie, or the address of the first request, holds the token."""
        given = _cookie(headers.get("cookie", ""), self.cookie)
        return self._is_token(given) or self._is_token(_query_token(scope))

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _with_headers(self, message: Message, scope: Scope) -> Message:
        """The beginning of an answer with what a browser must know."""
        given = list(message.get("headers", ()))
        there = {name.lower() for name, _ in given}
        added = [
            (n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in there
        ]
        if message["status"] < 400 and self._is_token(_query_token(scope)):
            cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            added.append((b"set-cookie", cookie.encode()))
        return {**message, "headers": [*given, *added]}

    def _bounded(self, receive: Receive) -> Receive:
        """The parts of a request, up to the largest size."""
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.most_bytes:
                raise Refusal(413, f"a request may have {self.most_bytes} bytes at most")
            return message

        return bounded


def _place_of(origin: str) -> str | None:
    """Host and port that an origin names; None where it names none."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in {"http", "https"} else None


def _headers(scope: Scope) -> dict[str, str]:
    pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}


def _name_of(address: str) -> str | None:
    """The host name in an address, without the port, which a tunnel may change."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _query_token(scope: Scope) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    try:
        found = parse_qs(query, max_num_fields=64).get("token", [""])
    except ValueError:
        return ""
    return found[0]


def _cookie(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _accepted(scope: Scope) -> str:
    """Kinds of answers that a request asks for."""
    return _headers(scope).get("accept", "")


async def _refuse(refusal: Refusal, send: Send, *, is_read: bool) -> None:
    """A refusal, as a sentence where somebody reads it in the place of a page."""
    said = refusal.reason if is_read else json.dumps({"error": refusal.reason})
    body, kind = said.encode(), "text/plain" if is_read else "application/json"
    headers = [
        (b"content-type", f"{kind}; charset=utf-8".encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
