"""Files that browsers run: the page's modules, style and entry, shipped as they are written."""

from dataclasses import dataclass
from importlib.resources import files

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class StaticFile:
    """A file for browsers.

    Attributes:
        content: Its bytes.
        media_type: What it is.
    """

    content: bytes
    media_type: str


def static_files() -> dict[str, StaticFile]:
    """All files for browsers, by name."""
    found = {}
    for entry in files(__name__).iterdir():
        kind = MEDIA_TYPES.get(f".{entry.name.rpartition('.')[2]}")
        if kind is not None and entry.is_file():
            found[entry.name] = StaticFile(content=entry.read_bytes(), media_type=kind)
    return found
