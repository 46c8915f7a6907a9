"""Reports in one HTML file that needs nothing beside it."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.log import as_named

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
       padding: 0 1rem; color: #1a1a1a; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.6rem; }
h3 { font-size: 1.05rem; margin-top: 1.6rem; }
p { max-width: 46rem; }
.verdict { font-size: 1.1rem; background: #eef4fb; border-left: 4px solid #2b6cb0;
           padding: .6rem 1rem; max-width: none; }
pre { background: #f6f6f6; padding: .8rem; font-size: .85rem; white-space: pre-wrap;
      overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
figcaption { color: #555; font-size: .9rem; }
.figures { display: grid; gap: .5rem 1.5rem;
           grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); }
.gallery { display: grid; gap: .8rem;
           grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
.gallery figure { margin: 0; } .gallery img { width: 100%; border: 1px solid #ddd; }
.gallery figcaption { font-size: .8rem; }
.small { grid-template-columns: repeat(auto-fill, minmax(6rem, 1fr)); }
table { border-collapse: collapse; font-size: .9rem; width: 100%; }
.figures .wide { grid-column: 1 / -1; }
@media (max-width: 40rem) { .wide { overflow-x: auto; }
                            .wide img { max-width: none; width: 44rem; } }
#live-views canvas { width: 100%; height: min(60vh, 30rem); border: 1px solid #ddd;
                     touch-action: none; display: block; }
#live-views { display: grid; gap: 1rem;
              grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
#live-views[hidden] { display: none; }
td, th { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0;
         border-bottom: 1px solid #e5e5e5; overflow-wrap: anywhere; }
"""

# Pictures at least as wide as this have a row of their own, and are scrolled on narrow screens.
WIDE_IN_PIXELS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Illustration:
    """A picture with its caption.

    Attributes:
        content: A PNG or GIF file.
        caption: What it shows.
    """

    content: bytes
    caption: str

    def as_html(self) -> str:
        """The figure element, with the file inside."""
        kind = "gif" if self.content.startswith(b"GIF8") else "png"
        kind_of_figure = ' class="wide"' if self._is_wide() else ""
        data = base64.b64encode(self.content).decode("ascii")
        text = _escaped(self.caption)
        return (
            f'<figure{kind_of_figure}><img alt="{text}" src="data:image/{kind};base64,{data}">'
            f"<figcaption>{text}</figcaption></figure>"
        )

    def _is_wide(self) -> bool:
        """True if the letters of a figure become too small on the width of a phone."""
        header, width = self.content[:16], int.from_bytes(self.content[16:20], "big")
        return header.startswith(b"\x89PNG") and width >= WIDE_IN_PIXELS


class HtmlReport:
    """Collects text and figures and writes them as one page.

    Args:
        title: Heading of the page.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{_escaped(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{_escaped(text)}</p>")

    def verdict(self, text: str) -> None:
        """Add the sentence that a reader in a hurry should see."""
        self._parts.append(f'<p class="verdict">{_escaped(text)}</p>')

    def commands(self, lines: list[str]) -> None:
        """Add command lines."""
        self._parts.append(f"<pre>{_escaped(chr(10).join(lines))}</pre>")

    def ready_made(self, markup: str) -> None:
        """Add markup that is ours, as it is."""
        self._parts.append(markup)

    def figure(self, figure: Figure, caption: str) -> None:
        """Add a figure with its caption."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        self._parts.append(Illustration(content=buffer.getvalue(), caption=caption).as_html())

    def figures(self, illustrations: Sequence[Illustration]) -> None:
        """Add pictures side by side, or one below the other where the screen is narrow."""
        self._grid("figures", illustrations)

    def gallery(self, illustrations: Sequence[Illustration], *, small: bool = False) -> None:
        """Add many pictures of equal size, as many in a row as the screen has room for."""
        self._grid("gallery small" if small else "gallery", illustrations)

    def subheading(self, text: str) -> None:
        """Begin a part of a section."""
        self._parts.append(f"<h3>{_escaped(text)}</h3>")

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Add a table; the first cell of a row says what is in the others."""
        lines = []
        for first, *others in rows:
            cells = "".join(f"<td>{_escaped(cell)}</td>" for cell in others)
            lines.append(f"<tr><th>{_escaped(first)}</th>{cells}</tr>")
        self._parts.append(f"<table>{''.join(lines)}</table>")

    def _grid(self, kind: str, illustrations: Sequence[Illustration]) -> None:
        inside = "\n".join(item.as_html() for item in illustrations)
        self._parts.append(f'<div class="{kind}">\n{inside}\n</div>')

    def write(self, path: Path) -> None:
        """Write the page."""
        title = _escaped(self._title)
        body = "\n".join(self._parts)
        page = (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n{body}\n</body></html>\n"
        )
        with atomic_path(path) as partial:
            partial.write_text(page, encoding="utf-8")


def _escaped(text: str) -> str:
    """A text in HTML, with settings named as on the terminal."""
    return html.escape(as_named(text))
