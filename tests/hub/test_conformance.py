"""The stock huggingface_hub client and `hf` against a running hub: 90 checks, with Xet and without."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.live import LiveHub

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("hf_conformance.py")
CHECKS = re.findall(r"^@OPEN\ndef (\w+)\(c\):", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
WAYS = {"xet": [], "lfs": ["--disable-xet"]}
Outcomes = dict[str, dict[str, str]]


class Runs:
    """One run of the script a mode, when the first of its checks is asked for."""

    def __init__(self, hub: LiveHub, folder: Path) -> None:
        self._hub, self._folder = hub, folder
        self._tokens = hub.token("conformer"), hub.token("witness")
        self.outcomes = cache(self._run)

    def _run(self, mode: str) -> Outcomes:
        out = self._folder / f"{mode}.json"
        tokens = ["--token", self._tokens[0], "--second-token", self._tokens[1]]
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "--endpoint", self._hub.url, *tokens, "--out", str(out), *WAYS[mode]],
            env={**os.environ, "PYTHONWARNINGS": "ignore"}, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert out.is_file(), done.stdout[-2000:] + done.stderr[-2000:]
        return {each["name"]: each for each in json.loads(out.read_text())["results"]}


@pytest.fixture(scope="module")
def runs(live_hub: LiveHub, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(live_hub, tmp_path_factory.mktemp("conformance"))


def test_there_are_ninety_checks() -> None:
    assert len(CHECKS) == len(set(CHECKS)) == 90


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("mode", WAYS)
def test_the_stock_client_is_served(runs: Runs, mode: str, check: str) -> None:
    outcome = runs.outcomes(mode)[check]

    assert outcome["status"] == "PASS", outcome["reason"]
