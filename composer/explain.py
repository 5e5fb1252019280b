"""Why a ranking says what it says: terms that add up, what each prior of the set is worth, what would change the answer
and what to evaluate next. All from leave-one-out on the labelled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np

from composer.assemble import Unit
from composer.choices import Choice, Credit, Explanation, Joining, Next, Part, Passed, Prospect
from composer.past import Past
from composer.rank.probe import NORMAL_95, Array, Probe, Targets, probe, score_gap, sets_score
from composer.rank.sets import Scored, Search, mix, overlaps

CLEAR = 2.0
"""Standard errors from which a difference is called clear."""

RULE_OF_THREE = 3.0
"""No row that changed of n says with 95 % confidence that less than 3 of n would (Hanley and Lippman-Hand 1983)."""

MOST_ROWS = 100_000
"""More rows than this are no advice."""

NEXT = 3


def explain(
    found: Search,
    units: Mapping[str, Unit],
    kernels: Mapping[str, Array],
    targets: Targets,
    plain: Probe,
    single: Probe,
    names: tuple[str, str],
    choices: Sequence[Choice],
    passed: Sequence[Passed],
    ways: Sequence[Prospect] = (),
    past: Past | None = None,
) -> Explanation:
    """The explanation of a search.

    kernels        of the units;  plain, single: probes without a prior and of the best single block
    names          of the chosen set and of the best single block
    choices        the recommended one first, then the others;  ways: what adapting may bring

    Where no prior is recommended the terms end with the plain baseline, and no prior has a credit.
    """
    chosen, helps = found.chosen, choices[0].kind != "none"
    text, rows = would_change(chosen.probe, single, plain, names)
    probes = {name: probe(kernel, targets) for name, kernel in kernels.items()} if past else {}
    return Explanation(
        parts=parts_of(found, kernels, targets, plain, single)[: None if helps else 2],
        credits=credits_of(chosen, units, kernels, targets) if helps else (),
        growth=tuple(
            Joining(step.name, round(step.gain, 4), round(step.error, 4), round(step.overlap, 3), step.taken)
            for step in found.steps
        ),
        would_change=text,
        rows_needed=rows,
        next=next_best(choices, passed, ways, targets),
        nearest=past.nearest(probes) if past else (),
        stands=tuple(sorted(past.join(probes).values(), key=lambda one: -one.standing)) if past else (),
        learned=past.learned if past else "",
    )


def guessed_score(targets: Targets) -> float:
    """What guessing the commonest class scores, or the mean; labels are guessed where they are the rule."""
    mean = targets.matrix.mean(axis=0)
    if targets.sets:
        return sets_score(targets, np.broadcast_to(mean, targets.matrix.shape))
    return 0.0 if targets.labels is None else float(mean.max())


def parts_of(
    found: Search, kernels: Mapping[str, Array], targets: Targets, plain: Probe, single: Probe
) -> tuple[Part, ...]:
    """The expected score of the chosen set as a sum, each term what one more thing adds."""
    weights = found.chosen.weights
    lead = max(weights, key=lambda name: weights[name])
    alone = probe(kernels[lead], targets).score
    steps = [
        ("guessing", guessed_score(targets)),
        ("the plain baseline, without a prior", plain.score),
        ("the best single prior instead", single.score),
    ]
    if alone != single.score:
        steps.append((f"{lead}, which leads the set, instead", alone))
    if len(weights) > 1:
        steps.append(("the other members", found.chosen.probe.score))
    before, terms = 0.0, []
    for what, value in steps:
        terms.append(Part(what, round(value, 4) - before))
        before = round(value, 4)
    return tuple(Part(part.what, round(part.value, 4)) for part in terms)


def credits_of(
    chosen: Scored, units: Mapping[str, Unit], kernels: Mapping[str, Array], targets: Targets
) -> tuple[Credit, ...]:
    """What every prior of the set is worth: the same set without it, its penalty chosen anew. A prior that reads more
    columns than one is left out of all of them. Empty for one prior, without which there is nothing.
    """
    by_prior: dict[str, list[str]] = {}
    for name in chosen.weights:
        by_prior.setdefault(units[name].candidates[0].ref.repo, []).append(name)
    if len(by_prior) < 2:
        return ()
    same = overlaps(kernels, chosen.weights)
    found = []
    for own in by_prior.values():
        rest = {name: weight for name, weight in chosen.weights.items() if name not in own}
        left = sum(rest.values())
        without = probe(mix(kernels, {name: weight / left for name, weight in rest.items()}), targets)
        drop, error = score_gap(chosen.probe, without)
        half = NORMAL_95 * error if np.isfinite(error) else 1.0
        half = max(half, RULE_OF_THREE / len(targets))
        weight = sum(chosen.weights[name] for name in own)
        found.append(
            Credit(
                " + ".join(own),
                round(weight, 4),
                round(drop, 4),
                round(drop - half, 4),
                round(drop + half, 4),
                round(max(same[name] for name in own), 3),
            )
        )
    return tuple(sorted(found, key=lambda credit: (-credit.drop, -credit.weight)))


def would_change(chosen: Probe, single: Probe, plain: Probe, names: tuple[str, str]) -> tuple[str, int | None]:
    """What evidence would change the answer, and the rows that would settle it."""
    targets = chosen.targets
    if chosen.loss >= plain.loss:
        gap, error = _gap(plain, chosen)
        return _sentence("no prior", names[0], gap, error, len(targets))
    if names[0] == names[1]:
        gap, error = _gap(chosen, plain)
        return _sentence(names[0], "no prior", gap, error, len(targets))
    gap, error = _gap(chosen, single)
    return _sentence(names[0], names[1], gap, error, len(targets))


def _gap(better: Probe, other: Probe) -> tuple[float, float]:
    return better.targets.mean_and_error(other.losses - better.losses)


def _sentence(better: str, other: str, gap: float, error: float, rows: int) -> tuple[str, int | None]:
    if not np.isfinite(error) or error == 0:
        return f"These rows do not tell {better} from {other}.", None
    if abs(gap) > CLEAR * error:
        if gap > 0:
            return f"{better} is clearly better than {other} here: only rows of another kind would change that.", rows
        return f"{other} has a clearly lower loss than {better} on these rows.", rows
    needed = ceil(rows * (CLEAR * error / abs(gap)) ** 2) if gap else MOST_ROWS + 1
    if needed > MOST_ROWS:
        return f"{better} and {other} are as good as equal here: more rows would hardly tell them apart.", None
    lead = better if gap > 0 else other
    return (
        f"About {needed:,} labelled rows in all would tell {better} from {other}, if {lead} stays ahead by what it is "
        f"now (a loss of {abs(gap):.3f}, give or take {error:.3f}).",
        needed,
    )


def next_best(
    choices: Sequence[Choice], passed: Sequence[Passed], ways: Sequence[Prospect], targets: Targets
) -> tuple[Next, ...]:
    """What could still be better than the first choice, by the upper ends of intervals (UCB): choices with a prior that
    it has not, networks that were left out early, and adapting where the limits allow it."""
    best = choices[0]
    inside = {member.candidate.ref for member in best.members}
    found = [
        Next(one.name, one.expected, one.high, f"its interval reaches {one.high:.3f}; evaluate it on more rows")
        for one in choices[1:]
        if one.high > best.expected and not inside.issuperset(member.candidate.ref for member in one.members)
    ]
    for one in passed:
        if targets.is_number:
            break  # R² of so few rows says nothing of its own error
        chance = min(max(one.expected, 0.0), 1.0)
        error = np.sqrt((chance + 2 / one.rows) * (1 - chance + 2 / one.rows) / (one.rows + 4))
        upper = round(min(one.expected + NORMAL_95 * float(error), 1.0), 4)
        if upper > best.expected:
            found.append(Next(one.name, one.expected, upper, f"it has read {one.rows} rows only"))
    found += [
        Next(way.name, way.expected, way.high, f"adapting it may gain up to {way.gain_high:+.3f}; {way.seconds:.0f} s")
        for way in ways
        if way.kind != "frozen" and way.within and way.gain_high > 0
    ]
    unique = {one.name: one for one in reversed(found)}
    return tuple(sorted(unique.values(), key=lambda one: -one.upper)[:NEXT])
