"""Many networks cost little more than the best of them: rows are read by ever fewer, and never twice."""

import json
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from composer.assemble import Offer, Unit
from composer.choices import Candidate, Ranking
from composer.lower import Lowered
from composer.race import LAST, SLACK, narrowed, race
from composer.rank.probe import Targets
from composer.recommend import recommend
from priors.library import LocalLibrary
from priors.manifest import PriorRef
from priors.tasks import Task
from tests.composer._tiny import MLP, write_prior


class Field:
    """Networks of given costs over made-up rows; the first few know something. Counts rows times cost, each row once a
    network, however many taps it has."""

    def __init__(self, costs, labelled, judged, *, taps=1, columns=("text",)):
        rng = np.random.default_rng(len(costs))
        self.labels = rng.permutation(np.arange(judged) % 3)
        self.rows = np.sort(rng.permutation(labelled)[:judged])
        self.targets, self.labelled = Targets.of_classes(self.labels, 3), labelled
        self.read_rows: dict[Candidate, set[int]] = {}
        self.blocks, units, candidates = {}, [], []
        for i, _ in enumerate(costs):
            ref = PriorRef("lab", f"net-{i}")
            own = tuple(Candidate(ref, f"layer_{t}", columns[i % len(columns)]) for t in range(taps))
            told = np.eye(3)[self.labels] * (3.0 / (1 + i))
            for one in own:
                block = np.zeros((labelled, 3), np.float32)
                block[self.rows] = told + rng.normal(size=(judged, 3))
                self.blocks[one] = block
            candidates += own
            units.append(Unit(f"net-{i}", own, True))
        self.costs = {c: float(costs[int(c.ref.name[4:])]) for c in candidates}
        manifests = {c: SimpleNamespace(kind="network", parameters=self.costs[c]) for c in candidates}
        self.offered = Offer(tuple(candidates), tuple(units), manifests)

    def read(self, candidates, rows):
        assert len({c.ref for c in candidates}) == 1
        self.read_rows.setdefault(candidates[0], set()).update(rows.tolist())
        return {c: self.blocks[c][rows] for c in candidates}

    def run(self):
        found = race(self.offered, self.targets, self.rows, self.labelled, self.read)
        kept = [unit.candidates[0] for unit in narrowed(self.offered, found.kept).units]
        for candidate in kept:
            self.read_rows.setdefault(candidate, set()).update(self.rows.tolist())
        total = sum(len(rows) * self.costs[c] for c, rows in self.read_rows.items())
        return found, kept, total, self.labelled * sum(self.costs[c] for c in kept)


@pytest.mark.parametrize(
    ("count", "labelled"), [(7, 150), (20, 300), (40, 400), (40, 1_000), (40, 2_500), (60, 129), (60, 5_000)]
)
def test_all_of_it_costs_at_most_a_third_more_than_one_pass_of_those_let_through(count, labelled):
    field = Field(np.ones(count), labelled, min(labelled, 1_000))

    found, kept, total, one_pass = field.run()

    assert total <= SLACK * one_pass
    assert {c.ref.name for c in kept} >= {"net-0", "net-1"}
    if found.passed:
        assert total == found.spent and one_pass == found.last
        assert len(kept) >= LAST and len(kept) + len(found.passed) == count


def test_many_rows_are_read_by_six_networks_alone():
    found, kept, total, _ = Field(np.ones(40), 5_000, 1_000).run()

    assert len(kept) == LAST
    assert {one.rows for one in found.passed} == {64, 256}
    assert [one.rows for one in found.passed] == sorted((one.rows for one in found.passed), reverse=True)
    assert total < 40 * 5_000 / 5


@pytest.mark.parametrize("costs", [np.arange(1, 31), np.arange(30, 0, -1), np.r_[np.ones(6), np.full(24, 50.0)]])
def test_the_bound_holds_whatever_networks_cost(costs):
    _, _, total, one_pass = Field(costs.astype(float), 2_000, 600).run()

    assert total <= SLACK * one_pass


def test_a_pass_is_paid_once_for_all_its_taps_and_they_stay_together():
    field = Field(np.ones(30), 2_500, 600, taps=4)

    found, kept, total, one_pass = field.run()

    assert total <= SLACK * one_pass
    assert len(found.kept) == 4 * len(kept)


def test_every_column_keeps_some():
    field = Field(np.ones(40), 4_000, 700, columns=("text",) * 9 + ("image",))

    _, kept, _, _ = field.run()

    assert sum(c.column == "image" for c in kept) >= 2


@pytest.mark.parametrize(("count", "rows"), [(6, 1_000), (30, 128)])
def test_few_networks_or_rows_lose_nothing(count, rows):
    field = Field(np.ones(count), rows, rows)

    found, _, _, _ = field.run()

    assert found.kept == field.offered.candidates
    assert found.passed == ()


@pytest.fixture
def small(monkeypatch):
    """The race at a tenth of its rows."""
    module = import_module("composer.race")
    for name, value in (("FIRST", 8), ("SECOND", 24), ("MIDDLE", 5), ("LAST", 3)):
        monkeypatch.setattr(module, name, value)


def test_recommend_reads_no_row_twice_and_fit_reads_the_rest_alone(small, tmp_path, monkeypatch):
    root = tmp_path / "priors"
    for i in range(12):
        write_prior(root / "lab" / f"net-{i}", "mlp", MLP, taps=("penultimate", "output"), seed=i)
    for path in root.glob("lab/*/prior.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "parameters": 100}))
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 120))
    labels = np.where(a * b > 0, "yes", "no").tolist()
    task = Task.from_table({"a": a, "b": b, "c": c, "y": labels}, "y", name="signs")
    monkeypatch.setattr(import_module("composer.recommend"), "MAX_ROWS", 100)
    read: list[tuple[str, bytes]] = []
    padded = Lowered.padded

    def counting(self, columns, names, **options):
        for node in self.lock.nodes:
            if node.op == "load":
                read.extend((node.attrs["prior"], row.tobytes()) for row in next(iter(columns.values())))
        return padded(self, columns, names, **options)

    monkeypatch.setattr(Lowered, "padded", counting)
    library = LocalLibrary(root)

    ranking = recommend(task, library=library, cache=tmp_path / "cache")

    kept = {choice.members[0].candidate.ref.name for choice in ranking.singles}
    assert len(kept) + len(ranking.passed) == 12
    assert ranking.passed and len(kept) >= 3
    assert len(read) == len(set(read))
    assert len(read) <= SLACK * len(kept) * len(task)
    assert Ranking.from_dict(json.loads(ranking.to_json())).to_dict() == ranking.to_dict()
    before = len(read)
    assert recommend(task, library=library, cache=tmp_path / "cache").singles[0].name == ranking.singles[0].name
    assert len(read) == before
