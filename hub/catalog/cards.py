"""Cards: Markdown that strangers wrote, as HTML that is safe to show. Rendered once, when it is committed."""

from __future__ import annotations

import re
import unicodedata

import nh3
from markdown_it import MarkdownIt

_FRONT_MATTER = re.compile(r"\A---\r?\n.*?\r?\n---\r?\n", re.DOTALL)
_TAGS = frozenset(
    [
        "a",
        "abbr",
        "b",
        "blockquote",
        "br",
        "code",
        "dd",
        "del",
        "div",
        "dl",
        "dt",
        "em",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "kbd",
        "li",
        "ol",
        "p",
        "pre",
        "s",
        "strong",
        "sub",
        "sup",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
        "var",
    ]
)
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto"}
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C])
"""Marks that reorder text: what is read would not be what is there (CVE-2021-42574)."""
_HEADING = re.compile(r"<(/?)h1>")


def render(markdown: str) -> str:
    """The card's HTML: no scripts, styles, forms or images, and links that only lead to http, https and mailto.

    Images are dropped: one from elsewhere would tell its server who reads the card. The page has its own h1, so a
    card's becomes h2.
    """
    text = _FRONT_MATTER.sub("", markdown).translate(_BIDI)
    text = "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")
    html = MarkdownIt("commonmark", {"html": False}).enable("table").enable("strikethrough").render(text)
    html = _HEADING.sub(r"<\1h2>", html)
    return nh3.clean(
        html, tags=set(_TAGS), attributes=_ATTRIBUTES, url_schemes=_SCHEMES, link_rel="nofollow noopener noreferrer"
    )
