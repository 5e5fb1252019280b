"""Cards: Markdown that strangers wrote, as HTML that is safe to show. Rendered by a worker, never in a request.

    python -m hub.catalog.cards /base/of/images/ < README.md > card.html

This module is also the program that `render_apart` runs and kills, so it imports nothing of Django.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

VERSION = 2
"""Rises when the same Markdown gives other HTML: cards are rendered again then."""
MAX_BYTES = 64 * 1024
LIMIT_S = 2.0
"""A table of 200 kB takes 2.8 s, 50,000 brackets 0.7 s (measured); cards of people take milliseconds."""
_MAX_HTML = 1 << 20
_MEMORY = 512 << 20
_ROOT = Path(__file__).resolve().parent.parent.parent

_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n.*?(?:^|(?<=\n))---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_TAGS = frozenset(
    [
        "a", "abbr", "b", "blockquote", "br", "code", "dd", "del", "div", "dl", "dt", "em", "h2", "h3", "h4", "h5",
        "h6", "hr", "i", "img", "kbd", "li", "ol", "p", "pre", "s", "strong", "sub", "sup", "table", "tbody", "td",
        "th", "thead", "tr", "ul", "var",
    ]
)  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "img": {"src", "alt", "title", "loading"}}
_SCHEMES = {"http", "https", "mailto"}
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C])
"""Marks that reorder text: what is read would not be what is there (CVE-2021-42574)."""
_HEADING = re.compile(r"<(/?)h1>")
_PICTURE = re.compile(
    r"(?:\./)?((?:[^/\\?#:\x00-\x1f]+/)*[^/\\?#:\x00-\x1f]+\.(?:png|jpe?g|webp|gif))\Z", re.IGNORECASE
)


def render(markdown: str, *, images: str = "") -> str:
    """The card's HTML: no scripts, styles or forms, and links that only lead to http, https and mailto.

    images  where the repository's own pictures lie: `/owner/name/resolve/main/`. Others are replaced by their text,
            and all are when it is empty: a picture from elsewhere would tell its server who reads the card.

    The page has its own h1, so a card's becomes h2.
    """
    text = _FRONT_MATTER.sub("", markdown).translate(_BIDI)
    text = "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_renderer(images))
    html = parser.enable("table").enable("strikethrough").render(text)
    html = _HEADING.sub(r"<\1h2>", html)

    def kept(tag: str, attribute: str, value: str) -> str | None:
        if (tag, attribute) == ("img", "src"):
            return value if images and value.startswith(images) else None
        return value

    return nh3.clean(
        html, tags=set(_TAGS), attributes=_ATTRIBUTES, attribute_filter=kept, url_schemes=_SCHEMES,
        link_rel="nofollow noopener noreferrer",
    )  # fmt: skip


def render_apart(markdown: str, *, images: str = "") -> str:
    """`render` in a process of its own that is killed after 2 s. "" for a card that is too long or takes too long."""
    content = markdown.encode()
    if len(content) > MAX_BYTES:
        return ""
    command = [sys.executable, "-m", "hub.catalog.cards", images]
    try:
        done = subprocess.run(
            command, input=content, capture_output=True, timeout=LIMIT_S, cwd=_ROOT, env={"PYTHONPATH": str(_ROOT)}
        )
    except subprocess.TimeoutExpired:
        return ""
    html = done.stdout.decode("utf-8", errors="replace")
    return html if done.returncode == 0 and len(html) <= _MAX_HTML else ""


def picture(source: str) -> str:
    """The path of a picture inside the repository, "" for one that lies anywhere else."""
    match = _PICTURE.fullmatch(unquote(source))
    if match is None or any(part in ("..", ".") for part in match[1].split("/")):
        return ""
    return match[1]


def _renderer(images: str) -> type[RendererHTML]:
    class Renderer(RendererHTML):
        def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
            token = tokens[idx]
            alt = self.renderInlineAsText(token.children or [], options, env)
            path = picture(str(token.attrs.get("src", ""))) if images else ""
            if not path:
                return _escape(alt)
            return f'<img src="{images}{quote(path)}" alt="{_escape(alt)}" loading="lazy">'

    return Renderer


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def main() -> None:
    """Reads a card, writes its HTML, within bounds of time and memory of its own."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(LIMIT_S) + 1, int(LIMIT_S) + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    markdown = sys.stdin.buffer.read(MAX_BYTES).decode("utf-8", errors="replace")
    sys.stdout.buffer.write(render(markdown, images=sys.argv[1] if len(sys.argv) > 1 else "").encode())


if __name__ == "__main__":
    main()
