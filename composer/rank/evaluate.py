"""How well priors would have been ranked on a published table, and what simpler lists would have done.

    python -m composer.rank.evaluate --matrix M.csv [--meta META.csv] [--trained-on FLAGS.csv] [--json]

protocol.py says how.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from composer.rank.history import History
from composer.rank.measures import interval, resamples
from composer.rank.protocol import MEASURES, REVEALED, Key, Results, evaluate
from priors.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

PROTOCOLS = ("known", "new_models")
ORDER = (
    "ours", "learned", "static_mean_rank", "type_weighted", "kriging", "low_rank", "nearest", "metadata", "size",
    "random", "oracle_nearest",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, or JSON; 1 where the files cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        history = History.of_table(options.matrix, options.meta, trained_on=options.trained_on)
        shown = None if options.json or not sys.stderr.isatty() else _progress
        results = evaluate(
            history, protocols=options.protocol, revealed=options.revealed, learned=options.learned, progress=shown
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = summary(results)
    if options.json:
        print(json.dumps({"matrix": str(options.matrix), "results": rows}, allow_nan=False))
        print(*results.notes, sep="\n", end="\n" if results.notes else "", file=sys.stderr)
    else:
        _show(options.matrix, history, results, rows)
    return 0


def summary(results: Results) -> list[dict[str, object]]:
    """One record a protocol, number revealed, choice and method: means over data sets; None where there is none."""
    draws = resamples(results.tasks)
    rows: list[dict[str, object]] = []
    for key in sorted(results.values, key=_rank):
        values = results.values[key]
        mean, low, high = interval(values["weighted_tau"], draws)
        row: dict[str, object] = dict(zip(("protocol", "revealed", "choice", "method"), key, strict=True))
        row |= {"weighted_tau": _plain(mean), "weighted_tau_low": _plain(low), "weighted_tau_high": _plain(high)}
        row |= {name: _plain(interval(values[name], draws)[0]) for name in MEASURES[1:]}
        rows.append(row)
    return rows


def _rank(key: Key) -> tuple[int, int, bool, int]:
    protocol, revealed, choice, method = key
    return PROTOCOLS.index(protocol), revealed, choice == "active", ORDER.index(method)


def _plain(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m composer.rank.evaluate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--matrix", required=True, help="CSV: a model a row, a data set a column, higher is better")
    parser.add_argument("--meta", help="CSV: a model a row, what is known of it a column")
    parser.add_argument("--trained-on", help="CSV shaped like the matrix: 1 where a model has seen the data set")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--learned", action="store_true", help="also the learned tier, which trains for minutes")
    parser.add_argument("--protocol", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--revealed", nargs="+", type=int, choices=REVEALED, default=list(REVEALED))
    return parser


def _progress(done: int, of: int, name: str) -> None:
    print(f"\r{done + 1}/{of} {name[:60]:<60}", end="" if done + 1 < of else "\n", file=sys.stderr, flush=True)


def _show(matrix: str, history: History, results: Results, rows: list[dict[str, object]]) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(f"{matrix}: {len(history.priors)} models, {len(history.tasks)} data sets, {len(history)} results")
    draws = resamples(results.tasks)
    static = results.values.get(("known", 0, "random", "static_mean_rank"))
    if static is not None:
        mean, low, high = interval(static["weighted_tau"], draws)
        console.print(
            f"staticness of this zoo: a list that never looks has weighted tau {mean:.3f} [{low:.3f}, {high:.3f}]"
        )
        ours = results.values[("known", 0, "random", "ours")]["weighted_tau"]
        mean, low, high = interval(ours - static["weighted_tau"], draws)
        console.print(f"ours is {mean:+.3f} above it [{low:+.3f}, {high:+.3f}], paired by data set")
    for note in results.notes:
        console.print(note)
    for protocol, revealed, choice in product(PROTOCOLS, REVEALED, ("random", "active")):
        here = [
            row for row in rows if (row["protocol"], row["revealed"], row["choice"]) == (protocol, revealed, choice)
        ]
        if here:
            how = f", {revealed} revealed ({choice})" if revealed else ""
            console.print(_table(f"{protocol}{how}", here))


def _table(title: str, rows: list[dict[str, object]]) -> Table:
    from rich.table import Table

    table = Table("method", title=title, title_justify="left")
    for head in ("weighted tau", "95 %", "Pearson", "top-1", "top-5", "of span", "90 % holds"):
        table.add_column(head, justify="right")
    for row in rows:
        span = " ".join(_cell(row[name]) for name in ("weighted_tau_low", "weighted_tau_high"))
        cells = [_cell(row[name]) for name in MEASURES]
        table.add_row(str(row["method"]), cells[0], span, *cells[1:])
    return table


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else ""


if __name__ == "__main__":
    sys.exit(main())
