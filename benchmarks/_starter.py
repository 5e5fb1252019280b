"""The starter catalogue and a composition over its sentence encoder, for the parts that need real networks."""

import tempfile
from functools import cache
from pathlib import Path

from composer.check import check
from composer.graph import Graph
from composer.lock import Lock
from composer.lower import Lowered, lower
from priors.library import LocalLibrary, resolver
from priors.sources.starter import write_starter

TWO_TAPS = """
composition: 1
name: two taps of a sentence encoder
adapt: trainable
nodes:
  text: {op: input, type: "text.raw[B]:str", column: text}
  w: {op: load, prior: "prior://priorhub/all-minilm-l6-v2"}
  middle: {op: net, in: {w: w, ids: text}, tap: layer_3}
  last: {op: net, in: {w: w, ids: text}, tap: layer_6}
  a: {op: fn, fn: standardize, in: [middle]}
  b: {op: fn, fn: standardize, in: [last]}
  both: {op: concat, in: [a, b]}
  y: {op: head, in: [both], labels: [l0, l1, l2, l3, l4, l5, l6]}
outputs: {y: y}
"""


@cache
def library() -> LocalLibrary:
    """The starter priors in a folder that is kept between runs."""
    root = Path(tempfile.gettempdir()) / "priorhub-benchmarks"
    write_starter(root)
    return LocalLibrary(root)


def two_taps() -> Lowered:
    """`TWO_TAPS` lowered, unfitted."""
    return lower(Lock.of(check(Graph.from_yaml(TWO_TAPS), resolver(library()))), library())
