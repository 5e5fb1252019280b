"""The icons: 24 x 24 outlines drawn with `currentColor`, inline so that they cost no request and follow the text."""

from __future__ import annotations

PATHS = {
    "arrow": "M5 12h14m-5-5 5 5-5 5",
    "audio": "M4 10v4m4-7v10m4-13v16m4-12v8m4-5v2",
    "chart": "M4 20h16M7 16v-5m5 5V5m5 11V9",
    "check": "m5 13 4 4L19 7",
    "clock": "M12 7v5l3 2m6-2a9 9 0 1 1-18 0 9 9 0 0 1 18 0",
    "copy": "M9 9h11v11H9zM15 9V4H4v11h5",
    "cross": "M6 6l12 12M18 6 6 18",
    "download": "M12 4v11m-5-5 5 5 5-5M5 20h14",
    "file": "M6 3h8l4 4v14H6zM14 3v4h4",
    "folder": "M4 6h6l2 2h8v11H4z",
    "function": "M15 5c-4-1-4 3-4.5 7S9 20 6 19M7.5 11h7m1 3 4 5m0-5-4 5",
    "heart": "M12 20 4.6 12.4a4.6 4.6 0 0 1 6.5-6.5l.9.9.9-.9a4.6 4.6 0 0 1 6.5 6.5z",
    "image": "M4 5h16v14H4zm0 11 5-5 4 4 3-3 4 4M15.5 9h.01",
    "lock": "M6 11h12v9H6zm3 0V8a3 3 0 0 1 6 0v3",
    "model": "M12 3v5m-6 5V9h12v4M4 13h4v4H4zm12 0h4v4h-4zm-6 0h4v4h-4zm2 4v4",
    "network": "M5 6h.01M5 18h.01M12 12h.01M19 6h.01M19 18h.01M5 6l7 6-7 6m14-12-7 6 7 6",
    "play": "M7 5l12 7-12 7z",
    "scale": "M12 4v16M7 20h10M5 8h14M5 8l-2.5 6h5zm14 0-2.5 6h5z",
    "search": "m20 20-4.5-4.5M17 10.5a6.5 6.5 0 1 1-13 0 6.5 6.5 0 0 1 13 0",
    "stop": "M7 7h10v10H7z",
    "tab": "M4 5h16v14H4zm0 5h16M4 14.5h16M10 5v14",
    "task": "M9 6h11M9 12h11M9 18h11M4 6l1 1 1.5-2M4 12l1 1 1.5-2M4 18l1 1 1.5-2",
    "text": "M5 7V5h14v2M12 5v14m-3 0h6",
    "trash": "M5 7h14M10 7V4h4v3m3 0-1 13H8L7 7m3.5 4v5m3-5v5",
    "upload": "M12 19V6m-5 5 5-5 5 5M5 21h14",
    "warn": "M12 4 2.5 20h19zm0 6v5m0 2.5h.01",
}
