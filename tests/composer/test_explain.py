"""What a ranking says for itself: terms that add up, credits that are real drops, and what would change the answer."""

from dataclasses import replace

import numpy as np
import pytest

from composer.assemble import Unit
from composer.choices import Candidate, Choice, Member, Passed, Prospect
from composer.explain import credits_of, explain, next_best, would_change
from composer.rank.probe import Targets, gram, probe
from composer.rank.sets import Scored, mix, search
from priors.manifest import PriorRef

LABELS = np.arange(80) % 4


def noise(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def unit(name: str, column: str = "text") -> Unit:
    return Unit(f"{name} ({column})", (Candidate(PriorRef("lab", name), "out", column),), False)


def world(targets: Targets | None = None):
    """One block that knows half of the classes, one that knows the other half, and their copy from another column."""
    blocks = {
        "high (text)": np.eye(2)[LABELS // 2] + 0.3 * noise(80, 2, seed=1),
        "low (text)": np.eye(2)[LABELS % 2] + 0.3 * noise(80, 2, seed=2),
        "noise (text)": noise(80, 5, seed=3),
    }
    units = {f"{name} (text)": unit(name) for name in ("high", "low", "noise")}
    return {name: gram(block) for name, block in blocks.items()}, targets or Targets.of_classes(LABELS, 4), units


def choice(name: str, expected: float, high: float) -> Choice:
    members = (Member(Candidate(PriorRef("lab", name.replace(" ", "-")), "out", "text"), 1.0),)
    return Choice(name, "single", members, expected, expected - 0.1, high, 0.0, False, "", 0.0)


@pytest.mark.parametrize("kind", ["classes", "number", "labels"])
def test_terms_add_up_to_the_expected_score(kind):
    several = np.stack([LABELS % 2, LABELS // 2], axis=1)
    number = Targets.of_values(LABELS % 2 + LABELS // 2 + 0.1 * noise(80))
    kernels, targets, units = world({"classes": None, "number": number, "labels": Targets.of_sets(several)}[kind])
    found = search(kernels, targets)
    plain, single = probe(kernels["noise (text)"], targets), found.singles[0].probe

    told = explain(found, units, kernels, targets, plain, single, ("set", "single"), [choice("set", 0.9, 1.0)], [])

    assert sum(part.value for part in told.parts) == pytest.approx(found.chosen.probe.score, abs=1e-3)
    assert told.parts[0].what == "guessing"
    assert {credit.name for credit in told.credits} >= {"high (text)", "low (text)"}
    assert all(credit.low <= credit.drop <= credit.high for credit in told.credits)
    assert [credit.drop for credit in told.credits] == sorted((c.drop for c in told.credits), reverse=True)
    assert told.credits[0].low > 0
    assert told.growth[0].taken


def test_where_no_prior_helps_the_terms_end_with_the_plain_baseline():
    kernels, targets, units = world()
    found = search({"noise (text)": kernels["noise (text)"]}, targets)
    plain = probe(kernels["high (text)"], targets)
    none = replace(choice("no prior", plain.score, 1.0), kind="none")

    told = explain(found, units, kernels, targets, plain, found.singles[0].probe, ("set", "single"), [none], [])

    assert sum(part.value for part in told.parts) == pytest.approx(plain.score, abs=1e-3)
    assert told.credits == ()


def test_a_credit_is_the_drop_of_the_set_without_the_prior_in_all_columns():
    kernels, targets, units = world()
    kernels["high (title)"] = gram(np.eye(2)[LABELS // 2] + 0.3 * noise(80, 2, seed=4))
    units["high (title)"] = unit("high", "title")
    weights = {"high (text)": 0.4, "high (title)": 0.2, "low (text)": 0.4}
    chosen = Scored(weights, probe(mix(kernels, weights), targets))

    both, low = sorted(credits_of(chosen, units, kernels, targets), key=lambda credit: -credit.weight)

    assert (both.name, both.weight) == ("high (text) + high (title)", pytest.approx(0.6))
    assert both.drop == pytest.approx(chosen.probe.score - probe(kernels["low (text)"], targets).score, abs=1e-4)
    assert both.overlap > low.overlap
    alone = Scored({"low (text)": 1.0}, probe(kernels["low (text)"], targets))
    assert credits_of(alone, units, kernels, targets) == ()


def test_rows_that_would_tell_two_apart_shrink_with_the_difference_squared():
    kernels, targets, _ = world()
    good, noise = probe(kernels["high (text)"], targets), probe(kernels["noise (text)"], targets)
    text, rows = would_change(good, noise, noise, ("high", "noise"))
    assert "high is clearly better than noise" in text and rows == 80

    near = probe(kernels["high (text)"] + 0.02 * kernels["noise (text)"], targets)
    text, rows = would_change(near, good, noise, ("near", "high"))
    gaps = good.losses - near.losses
    assert rows == np.ceil(80 * (2 * targets.standard_error(gaps) / abs(gaps.mean())) ** 2)
    assert f"About {rows:,} labelled rows in all would tell near from high" in text

    assert would_change(good, good, noise, ("this", "that")) == ("These rows do not tell this from that.", None)
    text, _ = would_change(noise, good, good, ("noise", "high"))
    assert "no prior is clearly better than noise" in text


def test_what_could_still_be_best_is_worth_evaluating_next():
    targets = Targets.of_classes(LABELS, 4)
    choices = [choice("best", 0.8, 0.9), choice("near", 0.75, 0.85), choice("far", 0.3, 0.4), choice("best", 0.8, 0.9)]
    within = replace(choice("part of the best", 0.8, 0.95), members=choices[0].members)
    passed = [Passed("little read", 64, 0.74), Passed("hopeless", 64, 0.2)]

    def way(name: str, gain_high: float, *, allowed: bool = True) -> Prospect:
        return Prospect(name, "adapted", "full", 0.7, 0.6, 0.81, -0.1, -0.2, gain_high, None, 20.0, 300.0, allowed, "")

    ways = [way("net, full", 0.01), way("lost", -0.02), way("dear", 0.2, allowed=False)]
    found = next_best([*choices, within], passed, ways, targets)

    assert [one.name for one in found] == ["little read", "near", "net, full"]
    assert "64 rows only" in found[0].why
    assert "may gain up to +0.010; 20 s" in found[2].why


def test_a_prior_without_which_no_row_changes_may_still_be_worth_three_of_them():
    kernels, targets, units = world()
    weights = {"high (text)": 0.5, "low (text)": 0.4999, "noise (text)": 0.0001}
    chosen = Scored(weights, probe(mix(kernels, weights), targets))

    noise = next(one for one in credits_of(chosen, units, kernels, targets) if "noise" in one.name)

    assert (noise.drop, noise.low, noise.high) == (0, pytest.approx(-3 / 80, abs=1e-4), pytest.approx(3 / 80, abs=1e-4))
