"""`python -m benchmarks fit`: the fitted composition of a given set against its members and plain concatenation.

For every task, 4, 16 and 64 labels a class and draw, the same rows go to: each member alone under the product's head;
the one of them that leave-one-out on the labelled rows picks; all members as the priors give them, standardised side by
side under scikit-learn's logistic regression; and the set weighed by leave-one-out (`composer.given`), under the
product's head. In tasks of several columns that head is fitted with dropout of columns (`composer.dropout`), and judged
once more on the same rows without each column, beside a head that is fitted without. What was computed is kept in
DATA/results.jsonl, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks._fitted_tasks import Given, part, tasks
from benchmarks._starter import library
from composer.assemble import Offer, Unit, offer
from composer.blocks import Blocks
from composer.cache import FeatureCache
from composer.choices import Candidate
from composer.dropout import with_dropout
from composer.given import trusted_over, units_named
from composer.known import known_of
from composer.rank.head import Ridge, ridge
from composer.rank.probe import Targets, gram, probe, solve
from composer.rank.sets import mix, weigh
from composer.recommend import unit_kernel
from composer.targets import targets_of
from priors.errors import BadTask
from priors.tasks import Task

DRAWS = {4: 20, 16: 5, 64: 5}
"""Labels a class -> draws; more where a draw decides more."""

LEAST_TEST = 50
MISSED = -0.5
"""Points under the best member from which a task counts as missed."""

NOISE = 2.0
"""Standard errors, over draws, beyond which a difference is one."""

COMPOSED, PICKED, PLAIN = "composition", "member picked by leave-one-out", "plain concatenation"
Array = NDArray[np.float64]
Key = tuple[str, int]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks fit", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the downloaded packages")
    parser.add_argument("--only", nargs="+", help="names of tasks; all by default")
    parser.add_argument("--out", type=Path, help="where to write the table; printed otherwise")
    parser.add_argument("--again", action="store_true", help="forget what was computed before")
    options = parser.parse_args(arguments)
    kept = options.data / "results.jsonl"
    if options.again:
        kept.unlink(missing_ok=True)
    done = _read(kept)
    chosen = [one for one in tasks(options.data) if not options.only or one.name in options.only]
    started = time.process_time()
    for one in chosen:
        _run(one, done, kept, FeatureCache(options.data / "features"))
        print(f"{one.name}: {time.process_time() - started:.0f} s of CPU so far", flush=True)
    text = report([done[key] for key in done if key[0] in {one.name for one in chosen}])
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    else:
        print(text)


def _run(one: Given, done: dict[Any, dict[str, Any]], kept: Path, cache: FeatureCache) -> None:
    wanted = [(one.name, labels, draw) for labels, count in DRAWS.items() for draw in range(count)]
    if all(key in done for key in wanted):
        return
    task = part(one.read())
    offered = offer(task, library().entries())
    units = [unit for name in one.members for unit in units_named(offered, name, task)]
    candidates = [candidate for unit in units for candidate in unit.candidates]
    blocks = Blocks(task, offered, library(), cache, candidates=candidates)
    for key in wanted:
        if key in done:
            continue
        _, labels, number = key
        row: dict[str, Any] = {"task": one.name, "family": one.family, "labels": labels, "draw": number}
        try:
            draw = task.draw(labels, number)
            if len(draw.test) < LEAST_TEST:
                raise BadTask("too few rows are left to judge by")
        except BadTask:
            row["scores"] = None
        else:
            row |= judge(task, units, offered, blocks, draw.train, draw.test)
        done[key] = row
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def judge(
    task: Task,
    units: Sequence[Unit],
    offered: Offer,
    blocks: Blocks,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> dict[str, Any]:
    """{"scores": accuracy of every way on the test rows, "weights": of the members}."""
    rows, n = np.concatenate([train, test]), len(train)
    targets = targets_of(task, train)
    made = blocks.fitted(train, rows)
    known = {candidate: gram(block[:n]) for candidate, block in made.items()}
    asked = {candidate: _cross(block, n) for candidate, block in made.items()}

    def accuracy(weights: Mapping[str, float]) -> float:
        kernel = mix({u.name: unit_kernel(u, known) for u in units}, weights)
        dual, intercept = solve(kernel, targets.matrix, probe(kernel, targets).penalty)
        scores = mix({u.name: _mean(u, asked) for u in units}, weights) @ dual + intercept
        return float((scores.argmax(axis=1) == task.y[test]).mean())

    by_unit = {unit.name: unit_kernel(unit, known) for unit in units}
    scores = {name: accuracy({name: 1.0}) for name in by_unit}
    picked = scores[min(by_unit, key=lambda name: probe(by_unit[name], targets).loss)]
    weights = dict(weigh(by_unit, targets, trusted=trusted_over(units), known=known_of(units, offered)).weights)
    scores[COMPOSED], scores[PICKED] = accuracy(weights), picked
    row: dict[str, Any] = {}
    if len(columns := sorted({_column(candidate) for candidate in made})) > 1:
        member = {c: weights.get(unit.name, 0.0) / len(unit.candidates) for unit in units for c in unit.candidates}
        scores[COMPOSED], row["lacking"] = _dropped(made, member, targets, columns, task.y[test])
    raw = np.hstack(list(blocks.fitted(train, rows, normalized=False).values())).astype(np.float64)
    scores[PLAIN] = _plain(raw, task.y, train, test)
    return row | {"scores": scores, "weights": {name: round(weight, 3) for name, weight in weights.items()}}


def _dropped(
    made: Mapping[Candidate, NDArray[np.float32]],
    weights: Mapping[Candidate, float],
    targets: Targets,
    columns: Sequence[str],
    right: NDArray[np.int64],
) -> tuple[float, dict[str, list[float]]]:
    """Accuracy of the set under a head with dropout of columns, and {column: without it, of the head without dropout
    and of the one with}; `whole` stands for all columns."""
    n, parts, owner = len(targets), [], []
    for candidate, block in made.items():
        centered = block.astype(np.float64) - block[:n].astype(np.float64).mean(axis=0)
        size = float(np.square(centered[:n]).sum() / n) or 1.0
        parts.append((weights[candidate] / size) ** 0.5 * centered)
        owner += [columns.index(_column(candidate))] * block.shape[1]
    features, place = np.hstack(parts), np.array(owner)
    plain = ridge(features[:n], targets)
    heads = (plain, with_dropout(plain, features[:n], targets, place))

    def accuracy(head: Ridge, lost: int) -> float:
        scores = (features[n:] * (place != lost)) @ head.weight.T + head.bias
        return float((scores.argmax(axis=1) == right).mean())

    found = {name: [accuracy(head, at) for head in heads] for at, name in enumerate(columns)}
    found["whole"] = [accuracy(head, -1) for head in heads]
    return found["whole"][1], found


def _column(candidate: Candidate) -> str:
    return candidate.column if isinstance(candidate.column, str) else "numbers"


def _plain(raw: Array, y: NDArray[Any], train: NDArray[np.int64], test: NDArray[np.int64]) -> float:
    """Accuracy of logistic regression with scikit-learn's defaults on standardised columns.

    Its penalty does not change under rotation, so it is fitted in the span of the labelled rows: the same predictions,
    quicker.
    """
    n = len(train)
    scaler = StandardScaler().fit(raw[:n])
    x = scaler.transform(raw)
    _, _, directions = np.linalg.svd(x[:n], full_matrices=False)
    x = x @ directions.T
    model = LogisticRegression(max_iter=1_000).fit(x[:n], y[train])
    return float((model.predict(x[n:]) == y[test]).mean())


def _cross(block: NDArray[np.float32], n: int) -> Array:
    """(m, n) products of the other rows with the first n, centered on these and in the units of `gram`."""
    centered = block.astype(np.float64) - block[:n].astype(np.float64).mean(axis=0)
    size = float(np.square(centered[:n]).sum() / n)
    return np.asarray(centered[n:] @ centered[:n].T / (size or 1.0))


def _mean(unit: Unit, asked: Mapping[Candidate, Array]) -> Array:
    return np.asarray(sum(asked[candidate] for candidate in unit.candidates) / len(unit.candidates))


def _read(kept: Path) -> dict[Any, dict[str, Any]]:
    if not kept.is_file():
        return {}
    rows = [json.loads(line) for line in kept.read_text("utf-8").splitlines() if line.endswith("}")]
    return {(row["task"], row["labels"], row["draw"]): row for row in rows}


def report(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table in Markdown: mean accuracy over draws, differences with standard errors, what the issue asks."""
    cells: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["scores"] is not None:
            cells.setdefault((row["task"], row["labels"]), []).append(row)
    lines = [
        "| task | labels a class | members, each alone | best member | picked | plain | composition | to the best "
        "| to the picked | to plain |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    gaps: dict[tuple[str, int], Gap] = {}
    known: dict[tuple[str, int], Gap] = {}
    beyond: dict[tuple[str, int], Gap] = {}
    for (name, labels), found in cells.items():
        scores = {way: 100 * np.array([row["scores"][way] for row in found]) for way in found[0]["scores"]}
        members = {way: score for way, score in scores.items() if way not in (COMPOSED, PICKED, PLAIN)}
        best = max(members.values(), key=lambda score: float(score.mean()))
        gaps[name, labels] = Gap.of(scores[COMPOSED] - best)
        known[name, labels] = Gap.of(scores[COMPOSED] - scores[PICKED])
        beyond[name, labels] = Gap.of(scores[COMPOSED] - scores[PLAIN])
        shown = ", ".join(f"{way} {score.mean():.1f}" for way, score in members.items())
        lines.append(
            f"| {name} | {labels} | {shown} | {best.mean():.1f} | {scores[PICKED].mean():.1f} | "
            f"{scores[PLAIN].mean():.1f} | {scores[COMPOSED].mean():.1f} | {gaps[name, labels]} | "
            f"{known[name, labels]} | {beyond[name, labels]} |"
        )
    return "\n".join([*lines, "", *_lacking(cells), *_verdict(gaps, known, beyond)]) + "\n"


def _lacking(cells: Mapping[Key, Sequence[Mapping[str, Any]]]) -> list[str]:
    """What a lost column costs, without dropout of columns and with; nothing where no task has several."""
    lines = ["| task | labels a class | rows | without dropout | with | difference |", "|---|---:|---|---:|---:|---:|"]
    for (name, labels), found in cells.items():
        for column in sorted(found[0].get("lacking", {}), key=lambda column: (column != "whole", column)):
            plain, dropped = (100 * np.array([row["lacking"][column][at] for row in found]) for at in (0, 1))
            rows = "whole" if column == "whole" else f"without {column}"
            gap = Gap.of(dropped - plain)
            lines.append(f"| {name} | {labels} | {rows} | {plain.mean():.1f} | {dropped.mean():.1f} | {gap} |")
    return [*lines, ""] if len(lines) > 2 else []


@dataclass(frozen=True)
class Gap:
    """A mean difference in points over draws, and its standard error."""

    points: float
    error: float

    @classmethod
    def of(cls, differences: Array) -> Gap:
        """Of paired differences, one a draw."""
        error = differences.std(ddof=1) / len(differences) ** 0.5 if len(differences) > 1 else float("inf")
        return cls(float(differences.mean()), float(error))

    @classmethod
    def mean(cls, gaps: Sequence[Gap]) -> Gap:
        """The mean of gaps whose draws are independent."""
        error = sum(gap.error**2 for gap in gaps) ** 0.5 / len(gaps)
        return cls(sum(gap.points for gap in gaps) / len(gaps), error)

    @property
    def missed(self) -> bool:
        return self.points < MISSED

    @property
    def beyond_noise(self) -> bool:
        """Whether it is surely missed."""
        return self.points + NOISE * self.error < MISSED

    def __str__(self) -> str:
        return f"{self.points:+.1f} ± {self.error:.1f}"


def _verdict(gaps: Mapping[Key, Gap], known: Mapping[Key, Gap], beyond: Mapping[Key, Gap]) -> list[str]:
    def by_task(found: Mapping[Key, Gap]) -> dict[str, Gap]:
        return {name: Gap.mean([gap for key, gap in found.items() if key[0] == name]) for name, _ in found}

    def listed(found: Mapping[str, Gap]) -> str:
        missed = sorted(((gap.points, name) for name, gap in found.items() if gap.missed))
        return f" ({'; '.join(f'{name}: {found[name]}' for _, name in missed)})." if missed else "."

    cells = {f"{name} at {labels}": gap for (name, labels), gap in gaps.items()}
    plain = [gap.points for gap in beyond.values()]
    over, beside, had = (Gap.mean(list(found.values())) for found in (gaps, beyond, known))
    said = [
        f"Over {len(gaps)} cells the composition is {over.points:+.2f} points to the best of its members, chosen "
        f"afterwards on the test rows (standard error {over.error:.2f}), {had.points:+.2f} to the member that "
        f"leave-one-out picks on the labelled rows ({had.error:.2f}), and {beside.points:+.2f} to plain "
        f"concatenation with logistic regression (median {np.median(plain):+.2f}, standard error "
        f"{beside.error:.2f}), which it beats in {sum(points > 0 for points in plain)} cells."
    ]
    for labels in DRAWS:
        here = [key for key in gaps if key[1] == labels]
        if here:
            best, had, beside = (Gap.mean([found[key] for key in here]) for found in (gaps, known, beyond))
            said.append(
                f"At {labels} labels a class, {len(here)} tasks: {best} to the best member, {had} to the picked one, "
                f"{beside} to plain."
            )
    for what, missed in (("best member", by_task(gaps)), ("picked member", by_task(known))):
        said.append(
            f"Tasks more than half a point under their {what} on average over label counts: "
            f"{sum(gap.missed for gap in missed.values())} of {len(missed)}, "
            f"{sum(gap.beyond_noise for gap in missed.values())} of them by more than {NOISE:g} standard errors"
            + listed(missed)
        )
    said.append(
        f"Single cells more than half a point under the best member: {sum(gap.missed for gap in cells.values())}, "
        f"{sum(gap.beyond_noise for gap in cells.values())} of them beyond noise" + listed(cells)
    )
    return said
