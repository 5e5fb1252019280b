"""Which blocks to combine, with what weights, and when to stop.

Picking the one set with the lowest leave-one-out loss among hundreds is a lottery with few rows: measured on five text
tasks at 16 labels a class, greedy selection lost up to 3 points to its own starting block. So sets are *averaged*:
every set tried gets a posterior weight exp(-n · nats / TEMPER - MEMBER_COST · members), and a block's weight is its
mean weight over the sets. As a set of blocks is the weighted sum of their Gram matrices, the average is again one
set, and it is what is fitted. Blocks the evidence does not speak for end below `LEAST` and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations, product
from types import MappingProxyType

import numpy as np

from composer.rank.alignment import cka
from composer.rank.probe import TEMPER, Array, Probe, Targets, probe
from composer.rank.rows import sample

RATIOS = (0.03, 0.1, 0.3, 0.6)
"""Weights tried for a block that joins, relative to the set's first block."""

LEADERS = 2
"""How many blocks a set may start from."""

CLOSE = 2.0
"""A second leader is followed while its loss is within this many standard errors (paired) of the best one's."""

JOINERS = 4
"""How many blocks, the best single ones, may join a leader; all their pairs are tried."""

MEMBER_COST = 1.0
"""What each block must bring in log evidence before its set is as probable as the set without it."""

LEAST = 0.03
"""A block with less than this part of the total weight is left out."""

GIVEN_TEMPER = 0.5
"""As TEMPER, for the few sets that blocks which somebody chose can make. Of 0.5, 0.7 and 1, on 33 tables that are in no
published one, with what is known of the blocks: 0.5 is 0.1 points above 1 at 4, 16 and 64 labels a class."""

JOINING = 0.3
"""Weight of what joins a trusted block, relative to it."""

GIVEN_RATIOS = (0.1, 0.3)
"""Weights tried for the others beside one of a set that is given."""

MOST_SUBSETS = 5
"""Blocks of a given set of which all subsets are scored; of more only singles, pairs and all together."""

TOP = 16
"""How many of the best single blocks all pairs are scored of: 120 pairs take a second at 256 rows."""

OPEN_COST = 1.0
"""What a set that starts from the best block that is not trusted must bring in log evidence more than one that starts
from a trusted one. On 22 text, image and audio tasks of the starter history 0, 1, 2 and 3 had a mean regret of .56,
.49, .55 and .57 points, and trusted starts alone .76: 1.3 on images and sounds, where a function often says more than
a network, and -.2 on texts, where `composer.known.followers` keeps functions from starting one."""

MOST_GROWN = 4
"""Members that a set is grown to, one at a time."""

SURE = 2.0
"""Standard errors (paired) by which a grown set's loss must be lower before it is taken instead of the average: the
best of hundreds of sets looks better than it is. On 24 draws of topics, sms, movie and digits at 4 and 16 labels a
class, 400 test rows, it was taken twice, both at 4: 1 and 30 points better. Taken always it is better on sms at 4, and
up to 3 points worse on movie and topics at 16."""

MAX_ROWS = 256
"""Sets are searched on at most this many labelled rows; the final fit uses all. Search time grows with the cube of
the rows."""

Weights = Mapping[str, float]
Fits = Callable[[Collection[str]], bool]
"""Whether blocks may stand together, whatever they say: of what fits every part fits too."""

Progress = Callable[[int, int, str], None]


def _any(names: Collection[str]) -> bool:
    return True


@dataclass(frozen=True)
class Scored:
    """A set of blocks by name with weights that sum to 1, and its leave-one-out probe."""

    weights: Weights
    probe: Probe


@dataclass(frozen=True)
class Step:
    """A block that a set was grown by, or would be next.

    ratio    its weight, relative to the first block
    gain     mean fall of the leave-one-out loss, and its standard error (paired row by row)
    overlap  alignment (CKA) with what was in the set already: 1 says the same
    taken    whether it was added: as evidence the fall exceeds what a member must bring (MEMBER_COST)
    """

    name: str
    ratio: float
    gain: float
    error: float
    overlap: float
    taken: bool


@dataclass(frozen=True)
class Search:
    """What the search found.

    singles   every block alone, best first
    tried     every block, and every set around a leader that was scored, best first
    pairs     all pairs of the TOP best blocks at equal weights, best first
    steps     how a set was grown from the first leader; the last step that was not taken is why it stopped
    grown     that set
    averaged  the posterior mean of the sets, small weights dropped
    chosen    the set to use: the average, or the grown one where that is clearly better

    `singles`, `tried` and `pairs` are scored on the rows that were searched on (MAX_ROWS at most), the others on all.
    """

    singles: tuple[Scored, ...]
    tried: tuple[Scored, ...]
    pairs: tuple[Scored, ...]
    steps: tuple[Step, ...]
    grown: Scored
    averaged: Scored
    chosen: Scored


def search(
    kernels: Mapping[str, Array],
    targets: Targets,
    *,
    trusted: Collection[str] = (),
    followers: Collection[str] = (),
    unproven: Collection[str] = (),
    known: Weights = MappingProxyType({}),
    fits: Fits = _any,
    max_members: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
) -> Search:
    """Finds how to weigh blocks, given their Gram matrices (n, n) of mean diagonal 1 on the labelled rows alone.

    trusted   blocks known from elsewhere to be good starts (pretrained networks): every set has one of them, or must
              say much more for itself (OPEN_COST). With few rows the losses cannot tell a bad start: on 32 rows of film
              reviews they made character n-grams lead, 12 points under the network
    followers blocks that join sets and start none beside trusted ones
    unproven  blocks of which nothing is known from elsewhere: they are never trusted, and have a part of the weight
              only where these rows say clearly (SURE) that it helps. Averaging gives a little weight to every block
              that does no harm, so that a network of random weights was in two thirds of all sets
    known     as in `weigh`
    fits      which sets are tried; every single block fits

    Scores every block alone and all pairs of the best; grows a set from the first leader while a block earns its place;
    then scores every leader with none, one or two of the joining blocks at all ratios, and averages these. Joining are
    the JOINERS best single blocks, and those that the set was grown by. Deterministic: `seed` only chooses rows when
    there are more than MAX_ROWS. Raises ValueError without blocks.
    """
    if not kernels:
        raise ValueError("search needs at least one block")
    rows = sample(targets, MAX_ROWS, seed)
    if len(rows) == len(targets):
        some, small = kernels, targets
    else:
        some = {name: _recentered(kernel[np.ix_(rows, rows)]) for name, kernel in kernels.items()}
        small = targets.take(rows)
    found: dict[tuple[tuple[str, float], ...], Scored] = {}

    def score(weights: Weights) -> Scored:
        total = sum(weights.values())
        normal = {name: weight / total for name, weight in weights.items()}
        key = tuple(sorted((name, round(weight, 6)) for name, weight in normal.items()))
        if key not in found:
            found[key] = Scored(normal, probe(mix(some, normal), small))
        return found[key]

    singles = sorted((score({name: 1.0}) for name in kernels), key=_loss)
    order = [name for one in singles for name in one.weights]
    trusted = frozenset(trusted) - frozenset(unproven)
    leaders = _leaders(singles, trusted)
    others = [name for name in order if name not in trusted and name not in followers]
    opened = others[:1] if trusted.intersection(leaders) else []
    pairs = sorted((score(dict.fromkeys(pair, 1.0)) for pair in combinations(order[:TOP], 2) if fits(pair)), key=_loss)
    steps = _grow(leaders[0], order[:TOP], min(MOST_GROWN, max_members), some, score, fits)
    grown = {leaders[0]: 1.0, **{step.name: step.ratio for step in steps if step.taken}}
    pool: dict[int, tuple[Scored, float]] = {}
    for i, lead in enumerate([*leaders, *opened]):
        best = [name for name in order if name != lead][:JOINERS]
        joiners = list(dict.fromkeys([*best, *(name for name in grown if name != lead)]))
        for members in range(min(max_members - 1, 2) + 1):
            for names in combinations(joiners, members):
                if not fits([lead, *names]):
                    continue
                for ratios in product(RATIOS, repeat=members):
                    one = score({lead: 1.0, **dict(zip(names, ratios, strict=True))})
                    pool.setdefault(id(one), (one, 0.0 if lead in leaders else OPEN_COST))
        if progress:
            progress(i + 1, len(leaders) + len(opened), f"sets around {lead}")
    starts = {*leaders, *opened}
    led = [one for one in found.values() if len(one.weights) == 1 or not one.weights.keys().isdisjoint(starts)]
    tried = sorted(led, key=_loss)
    best_first = sorted(pool.values(), key=lambda one: _loss(one[0]))
    averaged = average(
        [one for one, _ in best_first], len(small), max_members=max_members, known=known,
        costs=[cost for _, cost in best_first], fits=fits,
    )  # fmt: skip
    whole = _earned(averaged, frozenset(unproven), leaders[0], kernels, targets)
    total = sum(grown.values())
    greedy = {name: weight / total for name, weight in grown.items()}
    other = _earned(greedy, frozenset(unproven), leaders[0], kernels, targets)
    gap = whole.probe.losses - other.probe.losses
    clear = targets.mean_of(gap) > SURE * targets.standard_error(gap)
    return Search(tuple(singles), tuple(tried), tuple(pairs), tuple(steps), other, whole, other if clear else whole)


def _earned(weights: Weights, unproven: Set[str], lead: str, kernels: Mapping[str, Array], targets: Targets) -> Scored:
    """The set without the unproven blocks that do not clearly help it, the least helpful gone first; `lead` alone where
    nothing else is left."""
    now = Scored(weights, probe(mix(kernels, weights), targets))
    while doubtful := sorted(unproven & now.weights.keys() - ({lead} if len(now.weights) == 1 else set())):
        without: list[tuple[float, Scored]] = []
        for name in doubtful:
            rest = {other: weight for other, weight in now.weights.items() if other != name} or {lead: 1.0}
            total = sum(rest.values())
            left = {other: weight / total for other, weight in rest.items()}
            other = Scored(left, probe(mix(kernels, left), targets))
            gap = other.probe.losses - now.probe.losses
            without.append((targets.mean_of(gap) - SURE * targets.standard_error(gap), other))
        least, other = min(without, key=lambda one: one[0])
        if least > 0:
            break
        now = other
    return now


def _grow(
    lead: str,
    names: Sequence[str],
    most: int,
    kernels: Mapping[str, Array],
    score: Callable[[Mapping[str, float]], Scored],
    fits: Fits,
) -> list[Step]:
    """Blocks that join `lead` one at a time, at the ratio that leaving one out is for; the last may not be taken."""
    weights = {lead: 1.0}
    steps: list[Step] = []
    while len(weights) < most and len(steps) + 1 == len(weights):
        others = [name for name in names if name not in weights and fits([*weights, name])]
        if not others:
            break
        now = score(weights)
        tried = [(score({**weights, name: ratio}), name, ratio) for name in others for ratio in RATIOS]
        best, name, ratio = min(tried, key=lambda one: one[0].probe.loss)
        targets = best.probe.targets
        gaps = now.probe.losses - best.probe.losses
        gain = targets.mean_of(gaps)
        taken = gain > 0 and now.probe.nats - best.probe.nats > MEMBER_COST * TEMPER / len(targets)
        overlap = cka(kernels[name], mix(kernels, now.weights))
        steps.append(Step(name, ratio, gain, targets.standard_error(gaps), overlap, taken))
        if taken:
            weights[name] = ratio
    return steps


def overlaps(kernels: Mapping[str, Array], weights: Weights) -> dict[str, float]:
    """How much each block of a set says that the others say already (CKA with their weighted sum)."""
    found = {}
    for name in weights:
        rest = {other: weight for other, weight in weights.items() if other != name}
        found[name] = cka(kernels[name], mix(kernels, rest)) if rest else 0.0
    return found


def weigh(
    kernels: Mapping[str, Array],
    targets: Targets,
    *,
    trusted: Mapping[str, Collection[str]] | None = None,
    known: Weights | None = None,
    temper: float = GIVEN_TEMPER,
    seed: int = 0,
) -> Scored:
    """How much each block of a set that is given counts: every single one, every subset in equal parts, and each before
    another or all others at GIVEN_RATIOS are scored by leave-one-out and averaged. Raises ValueError without blocks.

    trusted  block -> blocks that read the same column, of which it is known from elsewhere to be the better start (a
             pretrained network): those join it with JOINING at most, and never stand without it
    known    block -> how probable other tasks make it before the rows are seen, as logarithms, 0 where nothing is
             known: a set is as probable as its blocks are in the mean, by their weights

    Deterministic: `seed` only chooses rows when there are more than MAX_ROWS.
    """
    if not kernels:
        raise ValueError("weighing needs at least one block")
    rows = sample(targets, MAX_ROWS, seed)
    some, small = kernels, targets
    if len(rows) < len(targets):
        some = {name: _recentered(kernel[np.ix_(rows, rows)]) for name, kernel in kernels.items()}
        small = targets.take(rows)
    tried = []
    for weights in _given_sets(tuple(kernels), trusted or {}):
        total = sum(weights.values())
        normal = {name: weight / total for name, weight in weights.items()}
        tried.append(Scored(normal, probe(mix(some, normal), small)))
    averaged = average(tried, len(small), max_members=len(kernels), temper=temper, known=known or {})
    return Scored(averaged, probe(mix(kernels, averaged), targets))


def _given_sets(names: Sequence[str], trusted: Mapping[str, Collection[str]]) -> list[dict[str, float]]:
    joiners = {name for lead, others in trusted.items() for name in others if lead != name and name not in trusted}
    leads = [name for name in names if name not in joiners]
    sizes = range(1, len(leads) + 1) if len(leads) <= MOST_SUBSETS else (1, 2, len(leads))
    sets = [dict.fromkeys(chosen, 1.0) for size in sizes for chosen in combinations(leads, size)]
    sets += [{a: 1.0, b: ratio} for a in leads for b in leads if a != b for ratio in GIVEN_RATIOS]
    if len(leads) > 2:
        sets += [{**dict.fromkeys(leads, ratio), a: 1.0} for a in leads for ratio in GIVEN_RATIOS]
    joined = []
    for one in sets:
        led = [name for name in names if name in joiners and any(name in trusted.get(lead, ()) for lead in one)]
        joined += [{**one, **dict.fromkeys(some, JOINING * ratio)} for some in _parts(led) for ratio in (1.0, 1 / 3)]
    return sets + joined


def _parts(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Each of the names alone, and all of them together."""
    return [*((name,) for name in names), *([tuple(names)] if len(names) > 1 else [])]


def average(
    tried: Sequence[Scored],
    rows: int,
    *,
    max_members: int,
    temper: float = TEMPER,
    known: Weights = MappingProxyType({}),
    costs: Sequence[float] | None = None,
    fits: Fits = _any,
) -> dict[str, float]:
    """The posterior mean of the weights of all sets tried on `rows` rows, at most `max_members` blocks, sum 1.

    costs  what each set must bring in log evidence besides its members
    fits   what may stand together; of the others the heaviest blocks do
    """
    evidence = np.array([-rows * one.probe.nats / temper - MEMBER_COST * len(one.weights) for one in tried])
    evidence += [np.log(sum(part * np.exp(known.get(b, 0.0)) for b, part in one.weights.items())) for one in tried]
    if costs is not None:
        evidence -= np.asarray(costs)
    posterior = np.exp(evidence - evidence.max())
    posterior /= posterior.sum()
    mean: dict[str, float] = {}
    for part, one in zip(posterior, tried, strict=True):
        for name, weight in one.weights.items():
            mean[name] = mean.get(name, 0.0) + float(part) * weight
    kept: dict[str, float] = {}
    for name, weight in sorted(mean.items(), key=lambda item: -item[1]):
        if not kept or (weight >= LEAST and len(kept) < max_members and fits([*kept, name])):
            kept[name] = weight
    total = sum(kept.values())
    return {name: weight / total for name, weight in kept.items()}


def mix(kernels: Mapping[str, Array], weights: Weights) -> Array:
    """The Gram matrix of a weighted set: sum of weight · K."""
    return np.asarray(sum(weight * kernels[name] for name, weight in weights.items()))


def _leaders(singles: list[Scored], trusted: Set[str]) -> list[str]:
    """Names of the blocks that sets start from, best first; `singles` are sorted by loss."""
    starts = [one for one in singles if not trusted.isdisjoint(one.weights)] or singles
    best = starts[0].probe.losses
    leaders: list[str] = []
    for one in starts[:LEADERS]:
        gap = one.probe.losses - best
        if gap.mean() <= CLOSE * one.probe.targets.standard_error(gap):
            leaders += one.weights
    return leaders


def _loss(scored: Scored) -> float:
    return scored.probe.loss


def _recentered(kernel: Array) -> Array:
    """The Gram matrix of the same features centered on these rows, mean diagonal 1."""
    rows = kernel.mean(axis=0)
    centered = kernel - rows[None, :] - rows[:, None] + rows.mean()
    size = float(np.trace(centered)) / len(centered)
    return np.asarray(centered / size if size > 0 else centered)
