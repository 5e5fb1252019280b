"""How far to adapt: predictions that rest on measurements, with honest intervals and costs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from composer.assemble import Offer, Unit
from composer.choices import Candidate, Choice, Limits
from composer.costs import Costs
from composer.prospects import MEASURED, falls, gain_of, prospects
from composer.rank.history import History, PriorCard, TaskCard
from composer.rank.probe import Targets, gram, probe
from priors.manifest import PriorRef
from priors.types import parse

LABELS = np.arange(60) % 2
TARGETS = Targets.of_classes(LABELS, 2)


def world(networks: int = 2, *, columns=("text",), modality="text", width=64):
    """Networks and a function that know something of two classes, the frozen choice and its probe."""
    rng = np.random.default_rng(1)
    units, manifests, kernels = [], {}, {}
    for i in range(networks + 1):
        kind = "network" if i < networks else "function"
        one = Candidate(PriorRef("lab", f"{kind}-{i}"), "layer_6", columns[i % len(columns)])
        tap = parse(f"vec.feat[B,D:{width}]:f32")
        manifests[one] = SimpleNamespace(
            kind=kind, modality=modality, parameters=22_000_000, default_tap="layer_6", tap=lambda _, tap=tap: tap,
            size_bytes=88_000_000,
        )  # fmt: skip
        units.append(Unit(f"{kind}-{i}", (one,), kind == "network"))
        kernels[units[-1].name] = gram(np.eye(2)[LABELS] * (1.5 - 0.3 * i) + rng.normal(size=(60, 2)))
    offered = Offer(tuple(manifests), tuple(units), manifests)
    chosen = probe(kernels[units[0].name] + kernels[units[-1].name], TARGETS)
    low, high = chosen.interval
    best = Choice("network-0 + function", "set", (), chosen.score, low, high, 0.0, False, "", 0.0)
    return best, chosen, offered, kernels


def ways(*given, limits=None, history=None, labelled=60):
    best, chosen, offered, kernels = given
    return prospects(
        best, chosen, offered, kernels, TARGETS, Costs(limits or Limits()), labelled=labelled, history=history
    )


def test_frozen_adapted_sets_and_ensembles_are_weighed_with_intervals_that_hold_no_gain():
    found = ways(*world())
    by_kind = {}
    for one in found:
        by_kind.setdefault(one.kind, []).append(one)

    assert set(by_kind) == {"frozen", "adapted", "set", "ensemble"}
    assert {(one.name, one.how) for one in by_kind["adapted"]} == {
        (f"network-{i}, {how}", how) for i in range(2) for how in ("full", "lora")
    }
    assert [one.expected for one in found] == sorted((one.expected for one in found), reverse=True)
    for one in found:
        assert one.low <= one.expected <= one.high <= 1
        assert one.gain_low <= one.gain <= one.gain_high
        assert one.why
    [stay] = by_kind["frozen"]
    assert (stay.gain, stay.seconds, stay.within) == (0, 0, True)
    [beside] = by_kind["set"]
    assert beside.over_adapted is not None and beside.gain_low < 0 < beside.gain_high
    best = max(by_kind["adapted"], key=lambda one: one.expected)
    assert stay.over_adapted == pytest.approx(stay.expected - best.expected, abs=1e-3)
    assert beside.over_adapted == pytest.approx(beside.expected - best.expected, abs=1e-3)
    assert by_kind["ensemble"][0].over_adapted == 0


def test_an_adapted_network_takes_away_the_part_of_its_errors_that_was_measured():
    best, chosen, offered, kernels = world(1)
    frozen = probe(kernels["network-0"], TARGETS).score
    mean = np.mean(falls(MEASURED["text"]["full"]))

    adapted = next(one for one in ways(best, chosen, offered, kernels) if (one.kind, one.how) == ("adapted", "full"))

    assert adapted.expected == pytest.approx(frozen + mean * (1 - frozen), abs=1e-3)
    assert adapted.gain == pytest.approx(adapted.expected - chosen.score, abs=1e-3)


def test_what_is_cut_off_at_one_does_not_make_a_combination_surer():
    best, chosen, offered, kernels = world()
    sharp = {name: gram(np.eye(2)[LABELS] + 0.2 * kernel[:, :2]) for name, kernel in kernels.items()}
    found = ways(best, chosen, offered, sharp)
    lead = max((one for one in found if one.kind == "adapted"), key=lambda one: one.expected)
    ensemble = next(one for one in found if one.kind == "ensemble")

    assert lead.high == 1
    assert lead.expected - lead.low > 1.9 * probe(sharp["network-0"], TARGETS).error
    assert ensemble.low <= lead.low < 0.96


def test_costs_grow_with_rows_and_what_is_beyond_the_limits_is_marked():
    given = world(1)
    few, many = (next(o for o in ways(*given, labelled=n) if o.how == "full") for n in (32, 5_000))

    assert 3 < few.seconds < 15  # MiniLM's size: 6 s were measured
    assert many.seconds == pytest.approx(next(o for o in ways(*given, labelled=1_000) if o.how == "full").seconds)
    assert many.memory_mb > few.memory_mb > 264
    assert not next(o for o in ways(*given, limits=Limits(minutes=0.01)) if o.kind == "adapted").within
    assert not next(o for o in ways(*given, limits=Limits(memory_mb=50)) if o.kind == "adapted").within
    assert all(o.within for o in ways(*given, limits=Limits(minutes=60, memory_mb=10_000)))


def test_networks_that_are_too_slow_together_are_within_the_limits_alone():
    best, chosen, offered, kernels = world()
    slow = Costs(Limits(latency_ms=10), {"network-0": 6.0, "network-1": 6.0, "function-2": 0.1})

    found = prospects(best, chosen, offered, kernels, TARGETS, slow, labelled=60)

    assert {one.kind: one.within for one in found} == {"frozen": True, "adapted": True, "set": True, "ensemble": False}


def test_columns_each_get_a_branch_and_what_cannot_learn_is_left_frozen():
    assert any(one.kind == "branches" for one in ways(*world(2, columns=("title", "body"))))
    assert [one.kind for one in ways(*world(0))] == ["frozen"]
    assert [one.kind for one in ways(*world(2, width=4))] == ["frozen"]
    assert [one.kind for one in ways(*world(2, modality="series"))] == ["frozen"]


def test_one_more_task_lies_within_what_few_tasks_say():
    rng = np.random.default_rng(0)
    names = ("lab/a#layer_6", "lab/a@adapted")
    tasks = tuple(TaskCard(f"t{i}", "image", metric="accuracy") for i in range(3))
    held = []
    for after in rng.normal(0.7, 0.05, (400, 4)):
        history = History(tuple(PriorCard(name) for name in names), tasks, np.stack([np.full(3, 0.5), after[:3]]))
        gain = gain_of("full", "image", TARGETS, history)
        held.append(abs((after[3] - 0.5) / 0.5 - gain.mean) <= 1.96 * gain.spread)

    assert 0.92 <= np.mean(held) <= 0.98


def test_a_history_of_adapted_runs_is_believed_before_the_table():
    names = ("lab/a#layer_6", "lab/a#layer_3", "lab/a@adapted")
    tasks = tuple(TaskCard(f"t{i}", "image", metric="accuracy") for i in range(4))
    scores = np.array([[0.5, 0.6, 0.5, 0.5], [0.4, 0.4, np.nan, 0.4], [0.75, 0.8, 0.74, np.nan]])
    history = History(tuple(PriorCard(name) for name in names), tasks, scores)

    found = gain_of("full", "image", TARGETS, history)

    assert found.mean == pytest.approx(np.mean([0.5, 0.5, 0.48]))
    assert found.spread < 0.03
    assert "3 tasks of the history" in found.source
    assert gain_of("full", "text", TARGETS, history) == gain_of("full", "text", TARGETS, None)
    wider = gain_of("full", "text", Targets.of_values(np.arange(9.0)), None)
    assert wider.spread == pytest.approx(2 * gain_of("full", "text", TARGETS, None).spread)
    assert replace(wider, spread=0).mean == wider.mean


def test_images_and_sounds_have_measurements_of_their_own_and_the_way_that_was_not_run_is_less_sure():
    image, audio, text = (gain_of("full", modality, TARGETS, None) for modality in ("image", "audio", "text"))

    assert image.mean == pytest.approx(np.mean(falls(MEASURED["image"]["full"])))
    assert audio.mean < text.mean  # adapting the starter's encoder of voices gained nothing
    assert "on images" in image.source and "on sounds" in audio.source
    light = gain_of("lora", "image", TARGETS, None)
    assert (light.mean, light.spread) == (image.mean, pytest.approx(2 * image.spread)) and "in full" in light.source
