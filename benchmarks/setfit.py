"""Few-shot adaptation against SetFit and against peft: accuracy on rows nobody saw, and CPU seconds, task by task.

    python -m venv peers && peers/bin/pip install torch==2.13.0 && peers/bin/pip install "setfit==1.2.*" peft
    python -m benchmarks setfit --peers peers/bin/python --results var/setfit

Every draw runs all ways in turn, each in a process of its own with one thread, and is written to the results folder; a
second call goes on where the first was stopped, and prints the table of what there is. Seconds are of the processor, in
training and what leads up to it (ranking, features, comparison), without starting Python and loading libraries.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from benchmarks._fitted_tasks import SERIES, tasks
from benchmarks._texts import text_task
from benchmarks.history.sounds import voices
from priors.sources._networks import NETWORKS
from priors.tasks import Task

TASKS = ("movie", "amazon", "tweets", "topics", "sms")
SOUNDS = {name: f"voices/{name}" for name in ("vowel", "speaker", "tone")}
OTHERS = ("digits", *SERIES, *SOUNDS)
"""Tasks without texts: ours alone, adapted beside frozen. Digits and series need --data (benchmarks._fitted_tasks says
what); sounds are made (benchmarks.history.sounds)."""

WAYS = {
    "setfit": "SetFit, all-minilm-l6-v2",
    "frozen": "recommended set, frozen",
    "adapted": "recommended set, adapted",
    "alone": "all-minilm-l6-v2 alone, adapted",
    "alone-frozen": "ge2e-speaker-encoder alone, frozen",
    "alone-lora": "ge2e-speaker-encoder alone, lora",
    "alone-full": "ge2e-speaker-encoder alone, full",
    "peft": "lora by peft and a plain loop",
    "lora": "lora by composer.contrast",
}
COMMANDS = ("ours", "setfit", "lora", "peft")
"""The programs, in the order they take turns; `ours` measures frozen, adapted and alone."""

POINTS, WORST, SHARE = 2.0, -1.0, 1 / 3
"""What is wanted of `adapted` against SetFit: points on average, on the worst task, and the share of its seconds."""


@dataclass(frozen=True)
class Score:
    """One way on one draw. accuracy in points of a hundred."""

    accuracy: float
    seconds: float


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks setfit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=Path, help="python of the environment with setfit and peft; without: ours only")
    parser.add_argument("--results", type=Path, default=Path("var/setfit"), help="folder of what was measured so far")
    parser.add_argument("--data", type=Path, help="folder of data packages, for tasks that are no texts")
    parser.add_argument("--tasks", nargs="+", choices=(*TASKS, *OTHERS), default=list(TASKS))
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--labels", type=int, default=16, help="labelled rows a class")
    parser.add_argument("--test-rows", type=int, default=500)
    parser.add_argument("--ways", nargs="+", choices=COMMANDS, default=list(COMMANDS), help="which programs to run")
    parser.add_argument("--show", action="store_true", help="run nothing, print what there is")
    options = parser.parse_args(arguments)
    options.results.mkdir(parents=True, exist_ok=True)
    if not options.show:
        for draw in range(options.draws):  # draws outside: a run that is stopped has every task
            for task in options.tasks:
                _measure(task, draw, options)
    print("\n".join(_table(options.results, options.tasks)))


def _measure(name: str, number: int, options: argparse.Namespace) -> None:
    task = text_task(name) if name in TASKS else other_task(name, options.data)
    drawn = task.draw(options.labels, number, options.test_rows)
    [column] = task.inputs
    texts = [v.tolist() if isinstance(v, np.ndarray) else str(v) for v in task.values(column.name)]
    draw = {
        "modality": column.modality,
        "train": [texts[i] for i in drawn.train],
        "labels": [int(label) for label in task.y[drawn.train]],
        "test": [texts[i] for i in drawn.test],
        "seed": number,
    }
    truth = options.results / f"truth_{name}_{number}.json"
    truth.write_text(json.dumps([int(label) for label in task.y[drawn.test]]))
    here = Path(__file__).parent
    model = str(NETWORKS[0].weights.locate().parent)
    ours = [sys.executable, "-m", "benchmarks._ours_adapted"]
    commands = {"ours": ours}
    if name in TASKS:
        commands["lora"] = [*ours, "--lora"]
    if options.peers and name in TASKS:
        # -P: beside the script lies this module, which would be taken for the library of its name.
        commands["setfit"] = [str(options.peers), "-P", str(here / "_peer_setfit.py"), model]
        commands["peft"] = [str(options.peers), "-P", str(here / "_peer_peft.py"), model]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    for way in options.ways:
        if way not in commands:
            continue
        command = commands[way]
        out = options.results / f"{way}_{name}_{number}.json"
        if out.is_file():
            continue
        print(f"{name}, draw {number}: {way}", file=sys.stderr)
        fresh = out.with_suffix(".part")
        subprocess.run(
            [*command, str(fresh)], input=json.dumps(draw), env=environment, text=True, check=True, stdout=sys.stderr
        )
        fresh.replace(out)


def other_task(name: str, data: Path | None) -> Task:
    """Sounds, digits, or a set of series out of the data package."""
    if name in SOUNDS:
        made = voices(Path(tempfile.gettempdir()) / "priorhub-benchmarks-sounds")
        return made.task_of(next(one for one in made.problems if one.name == SOUNDS[name]))
    if data is None:
        raise SystemExit(f"{name} needs --data. {tasks.__module__} says what is in it.")
    return next(one.read() for one in tasks(data) if one.name == name)


def _table(results: Path, tasks: Sequence[str]) -> Iterator[str]:
    found = {task: _scores(results, task) for task in tasks}
    yield "| task | way | draws | accuracy | 95 % interval | CPU seconds |"
    yield "|---|---|---|---|---|---|"
    for task, ways in found.items():
        for way, label in WAYS.items():
            if scores := ways.get(way):
                accuracy = np.array([score.accuracy for score in scores.values()])
                seconds = np.mean([score.seconds for score in scores.values()])
                row = (task, label, len(scores), f"{accuracy.mean():.1f}", _interval(accuracy), f"{seconds:.1f}")
                yield f"| {' | '.join(map(str, row))} |"
    compared = (("adapted", "setfit"), ("alone", "setfit"), ("frozen", "setfit"), ("lora", "peft"))
    for way, peer in (*compared, ("alone-lora", "alone-frozen"), ("alone-full", "alone-frozen")):
        yield from _against(found, way, peer)


def _against(found: dict[str, dict[str, dict[int, Score]]], way: str, peer: str) -> Iterator[str]:
    """Paired over the draws that both were measured on."""
    gains, shares, gaps = {}, {}, []
    for task, ways in found.items():
        both = sorted(ways.get(way, {}).keys() & ways.get(peer, {}).keys())
        if both:
            each = np.array([ways[way][i].accuracy - ways[peer][i].accuracy for i in both])
            gains[task], gaps = float(each.mean()), [*gaps, *each]
            shares[task] = sum(ways[way][i].seconds for i in both) / sum(ways[peer][i].seconds for i in both)
    if not gains:
        return
    yield ""
    yield f"{WAYS[way]} against {WAYS[peer]}, {len(gaps)} draws in all:"
    for task, gain in gains.items():
        yield f"  {task:<8} {gain:+5.1f} points, {shares[task]:.2f} of its seconds"
    mean = float(np.mean(list(gains.values())))
    share = float(np.mean(list(shares.values())))
    yield f"  mean     {mean:+5.1f} points ({_interval(np.array(gaps))} over draws), {share:.2f} of its seconds"
    if (way, peer) == ("adapted", "setfit"):
        for what, reached in (
            (f"{POINTS:+.0f} points on average", mean >= POINTS),
            (f"no task under {WORST:+.0f}", min(gains.values()) >= WORST),
            (f"{SHARE:.2f} of its seconds", share <= SHARE),
        ):
            yield f"  wanted: {what}: {'reached' if reached else 'missed'}"


def _scores(results: Path, task: str) -> dict[str, dict[int, Score]]:
    found: dict[str, dict[int, Score]] = {}
    for path in sorted(results.glob(f"*_{task}_*.json")):
        number = int(path.stem.rpartition("_")[2])
        content: Any = json.loads(path.read_text())
        if path.name.startswith("truth_"):
            continue
        truth = np.array(json.loads((results / f"truth_{task}_{number}.json").read_text()))
        for way, one in content.items():
            accuracy = 100 * float((np.array(one["predicted"]) == truth).mean())
            found.setdefault(way, {})[number] = Score(accuracy, one["seconds"])
    return found


def _interval(values: np.ndarray) -> str:
    if len(values) < 2:
        return "one draw"
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return f"{values.mean() - half:.1f} to {values.mean() + half:.1f}"
