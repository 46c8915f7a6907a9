"""Reports in one HTML file that needs nothing beside it."""

import base64
import html
import io
from pathlib import Path

from matplotlib.figure import Figure

from cryodrgn.io.atomic import atomic_path

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; color: #1a1a1a; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.verdict { font-size: 1.1rem; background: #eef4fb; border-left: 4px solid #2b6cb0;
           padding: .6rem 1rem; }
pre { background: #f6f6f6; padding: .8rem; font-size: .85rem; white-space: pre-wrap; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
figcaption { color: #555; font-size: .9rem; }
"""


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
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def verdict(self, text: str) -> None:
        """Add the sentence that a reader in a hurry should see."""
        self._parts.append(f'<p class="verdict">{html.escape(text)}</p>')

    def commands(self, lines: list[str]) -> None:
        """Add command lines."""
        self._parts.append(f"<pre>{html.escape(chr(10).join(lines))}</pre>")

    def figure(self, figure: Figure, caption: str) -> None:
        """Add a figure with its caption."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        text = html.escape(caption)
        self._parts.append(
            f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
            f"<figcaption>{text}</figcaption></figure>"
        )

    def write(self, path: Path) -> None:
        """Write the page."""
        title = html.escape(self._title)
        body = "\n".join(self._parts)
        page = (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>{title}</title><style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n{body}\n</body></html>\n"
        )
        with atomic_path(path) as partial:
            partial.write_text(page, encoding="utf-8")
