"""Files that browsers run: the page's modules, style and entry, shipped as they are written."""

import re
from collections.abc import Sequence
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


_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";$', re.M)
_EXPORT = re.compile(r"^export ((?:async )?(?:function|class|const) (\w+))", re.M)


def one_script(modules: Sequence[str]) -> str:
    """Modules as one script, for pages that are opened from disk, where imports are refused.

    Args:
        modules: Names without ending, each behind those that it imports.
    """
    parts, static = [], static_files()
    for name in modules:
        text = static[f"{name}.js"].content.decode()
        exported = ", ".join(found for _, found in _EXPORT.findall(text))
        inside = _EXPORT.sub(r"\1", _IMPORT.sub(r"const \1 = module_\2;", text))
        parts.append(
            f"const module_{name} = (() => {{\n{inside}\nreturn {{ {exported} }};\n}})();"
        )
    return "\n".join(parts)
