"""The verified score: what a prior gained alone, by this hub's own benchmarks of public tasks."""

from __future__ import annotations

import json
from typing import Any

from hub.catalog.models import Item
from hub.catalog.scores import gains, measured
from tests.factories import function_manifest, make_commit, make_prior, make_user


def row(kind: str, accuracy: float | None, *priors: str) -> dict[str, Any]:
    return {"kind": kind, "accuracy": accuracy, "priors": list(priors)}


def test_a_score_is_the_best_gain_over_the_best_row_without_a_prior(db: None, home: Any) -> None:
    make_prior(make_user("ann"))
    ref = Item.objects.get().ref
    report = {"rows": [row("none", 0.5), row("none", 0.6), row("single", 0.64, ref), row("taps", 0.66, ref),
                       row("recommended", 0.9, ref, ref), row("single", None, ref)]}  # fmt: skip

    measured(report)
    measured({"rows": [row("none", 0.5), row("single", 0.4, ref)]})

    assert Item.objects.get().score == 6.0


def test_without_a_baseline_or_a_full_reference_nothing_is_scored() -> None:
    ref = "prior://ann/a@sha256:" + "a" * 64

    assert gains({"rows": [row("single", 0.6, ref)]}) == {}
    assert gains({"rows": [row("none", 0.5), row("single", 0.6, "ann/a"), row("single", 0.6, "!")]}) == {}
    assert gains({}) == {}


def test_a_changed_prior_has_no_score_and_reworded_one_keeps_it(db: None, home: Any) -> None:
    ann = make_user("ann")
    commit = make_prior(ann)
    measured({"rows": [row("none", 0.5), row("single", 0.6, Item.objects.get().ref)]})

    make_commit(
        commit.repository, {"prior.json": json.dumps(function_manifest(summary="Other words.")).encode()}, by=ann
    )
    assert Item.objects.get().score == 10.0

    changed = function_manifest(function={"id": "char_ngrams", "config": {"n": [1, 2]}})
    make_commit(commit.repository, {"prior.json": json.dumps(changed).encode()}, by=ann)
    assert Item.objects.get().score is None
