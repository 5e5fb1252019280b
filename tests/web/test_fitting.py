"""What a composition's page says of its fit: the branch that was adapted, by which numbers, joins and calibration."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.web.fitting import adaptation_of, calibration_of, joins_of
from tests.factories import make_commit, make_prior
from tests.web.test_compositions import fn, lock_of, page_of, publish, spec

REPORT = {
    "metric": "accuracy",
    "seconds": {"features": 40.0, "fit": 20.0},
    "adaptation": {
        "chosen": "lora", "prior": "prior://ada/minilm@sha256:" + "a" * 64, "tap": "mean", "part": 0.5,
        "recipe": {"kind": "lora", "r": 8, "steps": 40, "lr": 0.001, "temperature": 0.1, "targets": ["*.query"]},
        "why": "adapting minilm clearly lowers the cross-validated loss (0.520 frozen, 0.310 with it)",
        "supported": True,
        "scores": {
            key: {"score": score, "low": score - 0.05, "high": score + 0.05, "loss": loss}
            for key, score, loss in (("frozen", 0.8, 0.52), ("adapted", 0.87, 0.35), ("chosen", 0.9, 0.31))
        },
    },
    "calibration": {"log_loss": {"before": 0.4, "after": 0.3}, "ece": {"before": 0.12, "after": 0.04}, "rows": 64},
}  # fmt: skip
LOCK = {
    "nodes": {
        "w": {"op": "load", "attrs": {"prior": "prior://ada/minilm"}},
        "d": {"op": "delta", "in": ["w"], "attrs": {"kind": "lora", "r": 8, "targets": ["a", "b", "c", "d", "e"]}},
        "v": {"op": "load", "attrs": {"prior": "prior://ada/vit"}},
        "n": {"op": "net", "in": {"w": "v"}, "attrs": {"train": {"last": 2}}},
    }
}


def test_the_page_says_what_was_adapted_and_by_which_numbers(client: Client, ada: User) -> None:
    make_prior(ada, "free")
    document = spec(one=fn("ada/free"))
    repository = publish(ada, document)
    files = {"composition.json": document, "report.json": REPORT}
    both = {name: json.dumps(content).encode() for name, content in files.items()}
    make_commit(repository, both | {"composition.lock.json": lock_of(document).to_json().encode()}, by=ada)

    html = page_of(client)

    assert "Adapted: LoRA, ada/minilm." in html and "Adapting minilm clearly lowers" in html
    for shown in ("80.0 % (75.0 % to 85.0 %)", "0.520", "90.0 % (85.0 % to 95.0 %)", "0.310", "<dd>40</dd>", "50%"):
        assert shown in html, shown
    assert "<bdi>chars</bdi>, <bdi>one</bdi>: side by side" in html
    assert 'Calibration error</th><td class="number">0.120</td><td class="number">0.040</td>' in html


def test_a_graph_says_itself_which_networks_it_changes() -> None:
    found = adaptation_of({}, LOCK)

    assert found is not None
    assert [(branch.repo, branch.how) for branch in found.branches] == [
        ("ada/minilm", "LoRA, rank 8, on a, b, c, d and 1 more"), ("ada/vit", "its last 2 layers trained"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "report",
    [
        None, [], {}, {"adaptation": 1}, {"adaptation": {"scores": 3, "recipe": [], "part": "x"}, "seconds": 1},
        {"calibration": {"ece": {"before": "x"}, "log_loss": 1}},
        {"adaptation": {"scores": {"frozen": {"score": float("nan")}}, "chosen": ["<b>"], "why": {"a": "\u202e"}}},
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_in_a_report_is_left_out(report: Any) -> None:
    adaptation = adaptation_of(report, {"nodes": [1]})

    assert adaptation is None or (adaptation.compared == () and "\u202e" not in adaptation.why)
    assert calibration_of(report) == () and joins_of({"nodes": None}) == ()
