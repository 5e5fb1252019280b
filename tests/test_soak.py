"""`scripts/soak`: a round that fails is told by its number, and the rounds behind it run all the same."""

from __future__ import annotations

import shutil
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = """
from pathlib import Path
import pytest
from tests.rounds import rounds

@pytest.mark.parametrize("way", ["a b", "c"])
def test_some_fail(way):
    for number in rounds(1, 6):
        with Path("ran").open("a") as file:
            file.write(f"{way}{number} ")
        assert way == "c" or number not in {1, 4}, "it went wrong"

def test_without_rounds():
    pass
"""


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the script has no .py for its cache to lie beside
    loader = SourceFileLoader("soak", str(ROOT / "scripts" / "soak"))
    spec = spec_from_loader("soak", loader)
    assert spec is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "soak", module)
    loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    shutil.copy(ROOT / "tests" / "rounds.py", tmp_path / "tests")
    (tmp_path / "tests" / "test_some.py").write_text(TESTS)
    (tmp_path / "tests" / "test_other.py").write_text("def test_once():\n    pass\n")
    (tmp_path / "pytest.ini").touch()
    return tmp_path


def test_a_failing_round_is_recorded_and_those_behind_it_run(soak: ModuleType, checkout: Path, tmp_path: Path) -> None:
    [name] = soak.repeating(checkout)

    outcome = soak.run(checkout, name, tmp_path / "log")

    ran = (checkout / "ran").read_text()
    assert [ran.count(f"{way}{number} ") for way in ("a b", "c") for number in range(6)] == [1] * 12
    assert (outcome.passed, outcome.failed, outcome.rounds) == (2, 1, 12)
    assert [line.partition(": ")[0] for line in outcome.what_failed] == [
        "`tests/test_some.py::test_some_fail[a b]`, round 2 of 6",
        "`tests/test_some.py::test_some_fail[a b]`, round 5 of 6",
    ]
    assert "it went wrong" in outcome.what_failed[0]


def test_the_report_says_what_ran_what_failed_and_what_did_not_run(soak: ModuleType) -> None:
    whole = soak.Outcome("tests/test_a.py", 3, 0, 150, 61.4)
    broken = soak.Outcome("tests/test_b.py", 2, 1, 50, 5.0, ["`tests/test_b.py::test_x`, round 7 of 50: no"])

    page = soak.report("abc1234", "1 May 2026", [whole, broken], ["tests/test_c.py"])

    assert "Commit abc1234, 1 May 2026" in page
    assert "| `tests/test_a.py` | 3 passed | 150 | 61 s |" in page
    assert "| `tests/test_b.py` | 2 passed, 1 failed | 50 | 5 s |" in page
    assert "- `tests/test_b.py::test_x`, round 7 of 50: no" in page
    assert "Not run yet: `tests/test_c.py`." in page
    assert "Nothing failed" not in page
    assert "Nothing failed." in soak.report("abc1234", "1 May 2026", [whole], [])
