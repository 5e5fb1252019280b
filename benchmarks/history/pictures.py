"""Pictures: scikit-learn's digits as they are and turned, parts of its two photographs, and drawn shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.history.problems import Problem, Source, where

DIGITS, TURNED, DRAWN, PARTS = 450, 220, 320, 220
SIDE = 64
STRIP = 96
COLORS = {
    "red": (200, 60, 50),
    "green": (60, 160, 70),
    "blue": (60, 90, 200),
    "yellow": (210, 190, 60),
    "violet": (150, 70, 170),
}
SHAPES = ("circle", "square", "triangle", "cross", "ring")


def digits(scratch: Path) -> Source:
    """Handwritten digits of 8 x 8 pixels (Alpaydin & Kaynak 1998)."""
    pictures, said = _digits()
    rows = np.arange(DIGITS)
    paths = _write(scratch / "digits", [_stretched(pictures[row]) for row in rows])
    answers = [str(said[row]) for row in rows]
    problems = [Problem("digits/digit", "digit", "Which digit a small grey picture shows", rows, answers)]
    for one, other in (("3", "8"), ("4", "9"), ("1", "7")):
        some = where(answers, one, other)
        problems.append(
            Problem(
                f"digits/{one}-or-{other}",
                "digit",
                f"Does a small grey picture show {one} or {other}",
                some,
                [answers[row] for row in some],
            )
        )
    problems.append(
        Problem(
            "digits/odd",
            "digit",
            "Is the digit that a small grey picture shows odd",
            rows,
            ["odd" if int(a) % 2 else "even" for a in answers],
        )
    )
    return Source("digits", {"path": paths}, tuple(problems), {"path": "image"})


def turned(scratch: Path) -> Source:
    """Other digits of the same set, each turned by a quarter none to three times."""
    pictures, said = _digits()
    turns = np.random.default_rng(0).integers(0, 4, TURNED)
    chosen = np.arange(len(said))[-TURNED:]
    kept = [_stretched(np.rot90(pictures[row], turn)) for row, turn in zip(chosen, turns, strict=True)]
    paths = _write(scratch / "turned", kept)
    rows = np.arange(TURNED)
    problems = (
        Problem(
            "turned/turn",
            "orientation",
            "By how many quarters a digit is turned",
            rows,
            [f"{turn} quarters" for turn in turns],
        ),
        Problem(
            "turned/digit",
            "digit",
            "Which digit a picture shows that may be turned",
            rows,
            [str(said[row]) for row in chosen],
        ),
    )
    return Source("turned", {"path": paths}, problems, {"path": "image"})


def drawn(scratch: Path) -> Source:
    """Shapes of one color in random places and sizes on a noisy ground."""
    rng = np.random.default_rng(0)
    pictures, shapes, colors, counts = [], [], [], []
    for _ in range(DRAWN):
        shape, color = str(rng.choice(SHAPES)), str(rng.choice(list(COLORS)))
        count = int(rng.integers(1, 5))
        pictures.append(_scene(rng, shape, COLORS[color], count))
        shapes.append(shape)
        colors.append(color)
        counts.append(count)
    rows = np.arange(DRAWN)
    problems = (
        Problem("drawn/shape", "shape", "Which of five shapes are drawn", rows, shapes),
        Problem("drawn/color", "color", "Which of five colors the shapes have", rows, colors),
        Problem(
            "drawn/many",
            "count",
            "Are one or two shapes drawn, or three or four",
            rows,
            ["many" if count > 2 else "few" for count in counts],
        ),
    )
    return Source("drawn", {"path": _write(scratch / "drawn", pictures)}, problems, {"path": "image"})


def photographs(scratch: Path) -> Source:
    """Parts of scikit-learn's two photographs, a temple and a flower; the parts of one upright strip are one group."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    names, photos = ("temple", "flower"), load_sample_images().images
    pictures, which, places, groups = [], [], [], []
    for number in range(PARTS):
        photo = photos[number % 2]
        strip = int(rng.integers(0, photo.shape[1] // STRIP))
        top, left = int(rng.integers(0, photo.shape[0] - SIDE)), STRIP * strip + int(rng.integers(0, STRIP - SIDE + 1))
        part = photo[top : top + SIDE, left : left + SIDE].astype(np.float64)
        pictures.append(np.clip(part * rng.uniform(0.6, 1.1) + rng.normal(0, 12, part.shape), 0, 255).astype(np.uint8))
        which.append(names[number % 2])
        places.append(("top", "middle", "bottom")[min(2, 3 * (top + SIDE // 2) // photo.shape[0])])
        groups.append(f"{names[number % 2]} {strip}")
    rows = np.arange(PARTS)
    temple = where(which, "temple")
    problems = (
        Problem(
            "photographs/which",
            "scene",
            "Is a small part of a photograph from one of a temple or of a flower",
            rows,
            which,
            groups,
        ),
        Problem(
            "photographs/height",
            "scene",
            "From which third of a photograph of a temple a small part is",
            temple,
            [places[row] for row in temple],
            [groups[row] for row in temple],
        ),
    )
    return Source("photographs", {"path": _write(scratch / "photographs", pictures)}, problems, {"path": "image"})


SOURCES: dict[str, Callable[[Path], Source]] = {
    "digits": digits,
    "turned": turned,
    "drawn": drawn,
    "photographs": photographs,
}


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images, found.target


def _stretched(pixels: np.ndarray) -> np.ndarray:
    """0..16 as grey values."""
    return (pixels * (255 / 16)).round().astype(np.uint8)


def _scene(rng: np.random.Generator, shape: str, color: tuple[int, int, int], count: int) -> np.ndarray:
    ground = Image.new("RGB", (SIDE, SIDE), tuple(int(v) for v in rng.integers(90, 170, 3)))
    draw = ImageDraw.Draw(ground)
    shade = tuple(int(np.clip(v + rng.normal(0, 25), 0, 255)) for v in color)
    for _ in range(count):
        r = float(rng.uniform(5, 12))
        x, y = rng.uniform(r, SIDE - r, 2)
        box = (x - r, y - r, x + r, y + r)
        if shape == "circle":
            draw.ellipse(box, fill=shade)
        elif shape == "square":
            draw.rectangle(box, fill=shade)
        elif shape == "ring":
            draw.ellipse(box, outline=shade, width=3)
        elif shape == "triangle":
            draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=shade)
        else:
            draw.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=shade)
            draw.rectangle((x - r / 3, y - r, x + r / 3, y + r), fill=shade)
    noisy = np.asarray(ground, dtype=np.float64) + rng.normal(0, 22, (SIDE, SIDE, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _write(folder: Path, pictures: list[np.ndarray]) -> list[str]:
    """The pictures as PNG files, written unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04}.png" for number in range(len(pictures))]
    for path, pixels in zip(paths, pictures, strict=True):
        if not path.is_file():
            fresh = path.with_suffix(".part")
            Image.fromarray(pixels).save(fresh, format="PNG")
            fresh.replace(path)
    return [str(path) for path in paths]
