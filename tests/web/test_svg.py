from __future__ import annotations

import math
import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from django.contrib.staticfiles.finders import find

from hub.web.layers import Sizes, layered
from hub.web.svg import graph_svg, interval_plot, label_curve
from hub.web.svg_marks import COLORS, INK, MUTED
from tests.web.world import CURVE, ranking, report

SVG = "{http://www.w3.org/2000/svg}"
SIZES = Sizes(width=190, height=46, bend=12, gap_x=20, gap_y=42, margin=10)
HOSTILE = "<script>alert(1)</script> \"'&\u202e\x00\x1b[31m"


def texts(svg: str) -> str:
    return " | ".join(element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text"))


def test_every_row_is_named_and_valued() -> None:
    svg = interval_plot(report()["rows"])

    assert "words (TF-IDF)" in texts(svg)
    assert "73.9 %  (71.8 to 75.8)" in texts(svg)
    assert len(list(ElementTree.fromstring(svg).iter(f"{SVG}circle"))) == len(report()["rows"])


def test_a_plot_says_its_finding_to_a_screen_reader() -> None:
    said = ElementTree.fromstring(interval_plot(report()["rows"])).attrib

    assert said["role"] == "img"
    assert said["aria-label"].startswith("all-minilm-l6-v2 · layers_2_6 + char-ngrams + word-ngrams: 73.9 %")
    assert "words (TF-IDF): 57.8 %" in said["aria-label"]


def test_choices_of_a_ranking_can_be_drawn_too() -> None:
    found = ranking()

    svg = interval_plot([*found["sets"], *found["singles"]])

    assert "layers_2_6 + char-ngrams" in texts(svg)


def test_a_regression_is_not_written_in_percent() -> None:
    svg = interval_plot([{"name": "x", "kind": "single", "expected": -0.25, "low": -0.5, "high": 0.1}], percent=False)

    assert "-0.250" in texts(svg)
    assert "%  (" not in svg


@pytest.mark.parametrize("missing", [None, math.nan, "0.5", True])
def test_a_row_without_a_number_is_left_out(missing: Any) -> None:
    assert interval_plot([{"name": "x", "kind": "single", "accuracy": missing}]) == ""


def test_one_row_with_no_spread_still_has_an_axis() -> None:
    svg = interval_plot([{"name": "x", "kind": "single", "accuracy": 1.0, "low": 1.0, "high": 1.0}])

    assert ElementTree.fromstring(svg) is not None
    assert "nan" not in svg


@pytest.mark.parametrize(
    "svg",
    [
        interval_plot([{"name": HOSTILE, "kind": HOSTILE, "accuracy": 0.5}], title=HOSTILE),
        label_curve(CURVE, {"labels": 16, "single_needs": 28, "text": HOSTILE}, title=HOSTILE),
        graph_svg({"nodes": {HOSTILE: {"op": HOSTILE, "type": HOSTILE, "attrs": {"prior": HOSTILE, "tap": HOSTILE}}}}),
    ],
    ids=["intervals", "curve", "graph"],
)
def test_what_people_wrote_is_escaped_and_cleaned(svg: str) -> None:
    assert ElementTree.fromstring(svg) is not None
    assert "<script" not in svg
    assert not {"\u202e", "\x00", "\x1b"} & set(svg)


def test_the_curve_shows_the_way_to_the_labels_saved() -> None:
    saved = report()["labels_saved"]

    svg = label_curve(CURVE, saved)

    assert "12 labels a class saved" in texts(svg)
    assert ElementTree.fromstring(svg).attrib["aria-label"] == saved["text"]


def test_a_single_prior_that_never_gets_there_is_said_so() -> None:
    assert "never gets here" in texts(label_curve(CURVE, {"labels": 16, "single_needs": None}))


def test_a_curve_with_gaps_is_drawn_where_it_is_known() -> None:
    gaps = [{**row, "none": None} for row in CURVE]

    assert "no prior" not in texts(label_curve(gaps))
    assert label_curve(CURVE[:1]) == ""


def test_a_curves_intervals_are_bars_behind_its_points() -> None:
    known = [{**row, "none_low": row["none"] - 0.05, "none_high": row["none"] + 0.2} for row in CURVE]

    root = ElementTree.fromstring(label_curve(known))
    bars = [each.attrib for each in root.iter(f"{SVG}line") if each.attrib["class"] == "mark mark-none"]

    assert len(bars) == len(CURVE) and all(float(bar["y1"]) > float(bar["y2"]) for bar in bars)
    assert all(0 < float(bar[end]) < 300.1 for bar in bars for end in ("y1", "y2"))  # inside of the axes


def test_names_at_the_ends_of_lines_do_not_overlap() -> None:
    close = [{"labels": n, "none": 0.70, "best_single": 0.701, "recommended": 0.702} for n in (4, 64)]

    root = ElementTree.fromstring(label_curve(close))
    names = {"recommended", "best single prior", "no prior"}
    heights = sorted(float(each.attrib["y"]) for each in root.iter(f"{SVG}text") if each.text in names)

    assert min(b - a for a, b in pairwise(heights)) >= 15


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    found = ElementTree.fromstring(svg).iter(f"{SVG}rect")
    shown = [each.attrib for each in found if "graph-box" in each.attrib.get("class", "")]
    return [tuple(float(each[key]) for key in ("x", "y", "width", "height")) for each in shown]  # type: ignore[misc]


def chain(count: int) -> dict[str, Any]:
    nodes = {f"n{i}": {"op": "proj", "in": [f"n{i - 1}"] if i else []} for i in range(count)}
    return {"nodes": nodes | {"y": {"op": "head", "in": [f"n{count - 1}", "n0"], "labels": ["a", "b"]}}}


def test_boxes_of_a_graph_do_not_overlap_and_lie_inside() -> None:
    wide: dict[str, Any] = {f"p{i}": {"op": "fn", "in": ["x"], "fn": "pixels"} for i in range(5)}
    svg = graph_svg({"nodes": {"x": {"op": "input"}, **wide, "y": {"op": "concat", "in": list(wide)}}})

    width, height = (float(ElementTree.fromstring(svg).attrib[key]) for key in ("width", "height"))
    found = boxes(svg)
    assert len(found) == 7
    for number, (x, y, w, h) in enumerate(found):
        assert x >= 0 and x + w <= width and y >= 0 and y + h <= height
        assert all(x + w <= a or a + c <= x or y + h <= b or b + d <= y for a, b, c, d in found[:number])


def test_weights_are_named_in_the_box_that_runs_them() -> None:
    lock = {
        "nodes": {
            "w": {"op": "load", "attrs": {"prior": "prior://a/minilm@sha256:00"}},
            "d": {"op": "delta", "in": ["w"]},
            "e": {"op": "net", "in": {"w": "d"}, "attrs": {"tap": "layer_3"}},
        }
    }

    assert "minilm · layer_3" in texts(graph_svg(lock))
    assert "load" not in texts(graph_svg(lock))


@pytest.mark.parametrize(
    "lock",
    [{}, {"nodes": None}, {"nodes": []}, {"nodes": {"x": 3}}, {"nodes": {"w": {"op": "load"}}}],
)
def test_a_lock_without_anything_to_draw_gives_nothing(lock: dict[str, Any]) -> None:
    assert graph_svg(lock) == ""


def test_a_cycle_in_a_hostile_file_ends() -> None:
    svg = graph_svg({"nodes": {"a": {"op": "sum", "in": ["b"]}, "b": {"op": "sum", "in": ["a", "a", 7]}}})

    assert len(boxes(svg)) == 2


@pytest.mark.parametrize("svg", [interval_plot(report()["rows"]), label_curve(CURVE), graph_svg(chain(40))])
def test_plots_stay_under_30_kilobytes(svg: str) -> None:
    assert len(svg.encode()) < 30_000


def luminance(color: str) -> float:
    """WCAG 2.2, relative luminance of #rrggbb."""
    channels = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("color", sorted({*COLORS.values(), INK, MUTED}))
def test_colors_of_plots_can_be_read_on_white(color: str) -> None:
    assert contrast(color, "#ffffff") >= 4.5


def test_the_sites_colors_can_be_read_in_light_and_dark() -> None:
    css = Path(str(find("site.css"))).read_text()
    tokens = {name: pair for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)}
    pairs = [
        (front, back) for front in ("ink", "muted", "accent") for back in ("paper", "card", "sunken", "accent-wash")
    ]
    pairs += [(hue, f"{hue}-wash") for hue in ("blue", "amber", "violet", "red")] + [("on-accent", "accent")]

    low = {
        (front, back, scheme): round(contrast(tokens[front][scheme], tokens[back][scheme]), 2)
        for front, back in pairs
        for scheme in (0, 1)
        if contrast(tokens[front][scheme], tokens[back][scheme]) < 4.5
    }

    assert low == {}


def test_a_graph_of_hundreds_of_nodes_is_laid_out_at_once() -> None:
    names = [f"n{i}" for i in range(400)]
    wide = [(names[i], names[j]) for i in range(0, 400, 8) for j in range(i + 1, min(400, i + 17))]

    began = time.process_time()
    layout = layered(names, wide, SIZES)

    assert layout is not None and time.process_time() - began < 1
    assert {*layout.places} == {*names}
    assert all(way[0][1] < way[-1][1] for way in layout.ways)


def test_a_drawing_that_would_be_all_lines_is_not_made() -> None:
    chain = [f"n{i}" for i in range(300)]
    edges = [*pairwise(chain), *((chain[0], target) for target in chain[2:])]

    assert layered(chain, edges, SIZES) is None


def test_lines_that_cross_for_no_reason_are_untangled() -> None:
    edges = [("a", "z"), ("b", "y"), ("c", "x")]

    layout = layered(["a", "b", "c", "x", "y", "z"], edges, SIZES)

    assert layout is not None
    assert [way[0][0] == way[-1][0] for way in layout.ways] == [True] * 3


def test_an_inserted_and_a_trained_node_are_marked_in_words() -> None:
    nodes = {
        "a": {"op": "input"},
        "a~pool~y": {"op": "pool", "in": ["a"], "auto": True},
        "y": {"op": "head", "in": ["a~pool~y"]},
    }

    said = texts(graph_svg({"nodes": nodes}))

    assert "pool, inserted" in said and "head, trained" in said


def test_the_type_of_a_value_stands_on_the_line_that_leaves_its_box() -> None:
    svg = graph_svg({"nodes": {"x": {"op": "input", "type": "text.raw[B]:str{a=1}"}}})

    assert "text.raw[B]:str" in texts(svg)
    assert ElementTree.fromstring(svg).attrib["role"] == "group"


def test_a_type_wider_than_its_box_has_room() -> None:
    svg = graph_svg({"nodes": {"x": {"op": "input", "type": "vec.feat[B,T:256,D:4096]:bf16"}}})

    root = ElementTree.fromstring(svg)
    [said] = [each for each in root.iter(f"{SVG}text") if (each.text or "").startswith("vec.feat")]
    assert float(said.attrib["x"]) + 6.3 * len(said.text or "") <= float(root.attrib["width"])
