"""Which blocks a task is offered, and the graphs that are wired from chosen ones."""

import json

import pytest

from composer.assemble import block_graph, offer, plain_members, set_graph
from composer.check import check
from composer.choices import Candidate, Choice, Limits, Member, Ranking, join_names
from composer.lock import Lock
from priors.errors import BadTask
from priors.library import resolver
from priors.manifest import PriorRef
from priors.tasks import Task
from tests.composer._made_up import FILLER, function_library, image_task, sentences, table_task, text_task
from tests.composer._tiny import tiny_library

REF = PriorRef.parse("prior://priorhub/words@sha256:" + "a" * 64)


@pytest.fixture
def library(tmp_path):
    return function_library(tmp_path / "priors")


def names(offered) -> list[str]:
    return [offered.name(candidate) for candidate in offered.candidates]


def test_a_text_column_is_offered_what_reads_text(library):
    offered = offer(text_task(), library.entries())

    assert names(offered) == ["char-ngrams", "text-statistics", "word-ngrams"]
    assert [unit.name for unit in offered.units] == names(offered)
    assert not any(unit.is_taps or unit.trusted for unit in offered.units)


def test_number_columns_are_read_together(library):
    offered = offer(table_task(), library.entries())

    assert names(offered) == ["fourier-features", "quantile", "standardize"]
    assert {candidate.column for candidate in offered.candidates} == {("a", "b", "noise")}
    assert not offered.several_columns


def test_functions_that_are_not_tried_by_default_can_be_asked_for(library, tmp_path):
    task = image_task(tmp_path / "pictures", each=2)
    offered = offer(task, library.entries(), functions={"dct", "wavelet_scattering", "pixels"})

    assert names(offered) == ["dct", "pixels", "wavelet-scattering"]
    graph, ends = block_graph(offered, offered.candidates)
    lock = Lock.of(check(graph, resolver(library)))
    assert set(ends.values()) <= {node.name for node in lock.nodes}
    assert [node.attrs["fn"] for node in lock.nodes if node.op == "fn"].count("image_grid") == 1


def test_of_several_columns_each_is_offered_and_named(library):
    texts, labels = sentences(12)
    columns = {"title": texts, "body": texts[::-1], "kind": FILLER[:3] * 4, "size": range(12), "y": labels}
    modalities = {"title": "text", "body": "text", "kind": "category", "size": "num"}
    task = Task.from_table({**columns, "size": [float(n) for n in range(12)]}, "y", modalities=modalities)

    offered = offer(task, library.entries())

    assert offered.several_columns
    assert len(set(names(offered))) == len(offered.candidates) == 3 + 3 + 1 + 3
    assert "char-ngrams (title)" in names(offered)
    assert "word-ngrams (kind)" in names(offered)
    assert "standardize" in names(offered)
    assert [unit.name for unit in offered.units] == names(offered)
    members = [Member(candidate, 0.1) for candidate in offered.candidates[:4]]
    assert join_names(members, columns=True) == " + ".join(names(offered)[:4])


def test_a_network_gives_its_taps_as_blocks_and_their_average_as_one_unit(tmp_path):
    library = tiny_library(tmp_path)

    offered = offer(text_task(), library.entries())

    [unit] = offered.units
    assert unit.is_taps
    assert not unit.trusted  # far below a million parameters
    assert set(unit.candidates) <= set(offered.candidates)
    assert all(offered.manifests[candidate].name == "words" for candidate in offered.candidates)
    assert not {c.tap for c in offered.candidates} & set(offered.manifests[offered.candidates[0]].averages)


def test_nothing_that_reads_the_task_is_refused_with_what_it_has(library):
    with pytest.raises(BadTask, match=r"no prior of the library reads this task \(text\)\. Import priors"):
        offer(text_task(), [])
    with pytest.raises(BadTask, match="tab"):
        offer(table_task(), [entry for entry in library.entries() if entry.manifest.modality == "text"])


def test_limits_leave_priors_out(tmp_path):
    library = tiny_library(tmp_path)
    small = {"budget_mb": 0.001}

    assert offer(text_task(), library.entries(), {"budget_mb": 100}).candidates
    with pytest.raises(BadTask, match="relax the limits"):
        offer(text_task(), library.entries(), small)
    assert Limits.of(small) == Limits.of(Limits(budget_mb=0.001)) == Limits(0.001)
    assert Limits.of(None) == Limits()


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"budget": 3}, r"no limit 'budget'\. Limits are budget_mb, latency_ms, license, memory_mb"),
        ({"budget_mb": "3"}, "budget_mb is '3'"),
        ({"budget_mb": -1}, "0 or more"),
        ({"budget_mb": True}, "budget_mb is True"),
        ({"latency_ms": float("nan")}, "latency_ms is nan. Give milliseconds"),
        ({"price": "3 USD"}, "price is '3 USD'. Give percent"),
        ({"license": "free"}, "license is 'free'. Give any or sell"),
    ],
)
def test_a_limit_that_is_none_is_refused(library, limits, words):
    with pytest.raises(BadTask, match=words):
        offer(text_task(), library.entries(), limits)


@pytest.mark.parametrize(
    ("spdx", "sold"),
    [("MIT", True), ("CC-BY-4.0", True), ("NCSA", True), ("CC-BY-NC-4.0", False), ("LicenseRef-Non-Commercial", False)],
)
def test_what_may_not_be_sold_is_left_out_when_selling(tmp_path, spdx, sold):
    [entry] = [e for e in tiny_library(tmp_path).entries() if e.ref.name == "words"]
    manifest = type(entry.manifest)(**{**entry.manifest.__dict__, "license": type(entry.manifest.license)(spdx)})

    assert Limits(license="sell").allow(manifest) is sold
    assert Limits().allow(manifest)


def test_what_stands_for_no_prior_is_words_or_bare_columns(library):
    [words] = plain_members(offer(text_task(), library.entries()))
    assert (words.candidate.ref.name, words.weight) == ("word-ngrams", 1.0)
    [columns] = plain_members(offer(table_task(), library.entries()))
    assert columns.candidate.ref.name == "standardize"
    others = [entry for entry in library.entries() if entry.ref.name == "char-ngrams"]
    assert plain_members(offer(text_task(), others)) == ()


@pytest.mark.parametrize("fusion", ["concat", "gate"])
@pytest.mark.parametrize("make", [text_task, table_task])
def test_a_set_is_wired_checked_and_locked(library, make, fusion):
    task = make()
    offered = offer(task, library.entries())
    members = [Member(candidate, weight) for candidate, weight in zip(offered.candidates, (0.2, 0.5, 0.3), strict=True)]

    graph = set_graph(task, members, offered, seed=5, fusion=fusion)
    lock = Lock.of(check(graph, resolver(library)))

    assert (graph.name, lock.seed) == (task.name, 5)
    blocks = [node for node in lock.nodes if node.attrs.get("fn") == "block_norm"]
    expected = [0.5, 0.3, 0.2] if fusion == "concat" else [1.0, 1.0, 1.0]
    assert [node.attrs["config"]["weight"] for node in blocks] == expected
    assert lock.node("y").attrs.get("labels", []) == list(task.labels)
    assert set(lock.priors.values()) == {member.candidate.ref for member in members}
    assert set_graph(task, members[::-1], offered, seed=5, fusion=fusion) == graph


def test_one_member_needs_no_fusion_and_taps_share_their_network(tmp_path):
    library = tiny_library(tmp_path)
    offered = offer(text_task(), library.entries())
    taps = offered.units[0].candidates

    one = set_graph(text_task(), [Member(taps[0], 1.0)], offered)
    several = set_graph(text_task(), [Member(tap, 1 / len(taps)) for tap in taps], offered)

    assert "concat" not in {node.op for node in one.nodes}
    ops = [node.op for node in several.nodes]
    assert (ops.count("load"), ops.count("input"), ops.count("net")) == (1, 1, len(taps))
    check(several, resolver(library))


def test_blocks_are_outputs_of_one_graph_whatever_columns_are_called(library):
    texts, labels = sentences(12)
    task = Task.from_table(
        {"Überschrift / 1": texts, "Überschrift : 1": texts, "y": labels},
        "y",
        modalities={"Überschrift / 1": "text", "Überschrift : 1": "text"},
    )
    offered = offer(task, library.entries())

    graph, ends = block_graph(offered, offered.candidates)
    checked = check(graph, resolver(library))

    assert sorted(graph.outputs.values()) == sorted(ends.values())
    assert len(set(ends.values())) == len(offered.candidates)
    inputs = [node for node in checked.nodes if node.op == "input"]
    assert {node.attrs["column"] for node in inputs} == {"Überschrift / 1", "Überschrift : 1"}


def test_choices_and_rankings_travel_as_json():
    candidates = [Candidate(REF, "out", "text"), Candidate(REF, "out", ("a", "b")), Candidate(REF, "layer_1", "text")]
    choice = Choice(
        name="words",
        kind="set",
        members=tuple(Member(candidate, 1 / 3) for candidate in candidates),
        expected=0.5,
        low=0.4,
        high=0.6,
        gain=0.1,
        supported=True,
        why="because",
        seconds=0.1,
    )
    ranking = Ranking("t", 10, 2, "accuracy", "set", "why", choice, (choice,), (choice, choice), choice, ("careful",))

    read = Ranking.from_dict(json.loads(ranking.to_json()))

    assert [member.candidate for member in read.best.members] == candidates
    assert read.to_dict() == ranking.to_dict()
    assert join_names(choice.members) == "words (3 taps)"
    assert join_names(choice.members[2:]) == "words · layer_1"
    assert join_names(choice.members[:1]) == "words"
