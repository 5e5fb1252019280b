"""A hub's history and a recommendation name the same things alike."""

from types import SimpleNamespace

from composer.past import prior_card
from hub.boards import history
from priors.tasks.spec import Column, TaskSpec, modality_of


def test_columns_of_numbers_are_a_table_in_a_card(monkeypatch):
    columns = (Column("a", "num"), Column("b", "text"), Column("c", "num"), Column("y", "target"))
    spec = TaskSpec("t", columns, "y", "binary", ("no", "yes"), "accuracy", 9)
    monkeypatch.setattr(history.repos, "read_file", lambda *_, **__: spec.to_json().encode())

    card = history._task_card("ann/t", SimpleNamespace(head=1, description=""))

    assert card["modality"] == modality_of(["num", "text"]) == "tab+text"


def test_what_is_known_of_a_prior_has_one_name(monkeypatch):
    facts = {"parameters": 7, "size_bytes": 28, "kind": "network", "modality": "text", "summary": "reads"}
    item = SimpleNamespace(**facts, architecture="bert", license="MIT")
    found = SimpleNamespace(only=lambda *_: SimpleNamespace(first=lambda: item))
    monkeypatch.setattr(history.Item.objects, "filter", lambda **_: found)
    monkeypatch.setattr(history.Repository.objects, "named", lambda _: None)

    [listed] = history._prior_cards(["lab/a#out"])
    manifest = SimpleNamespace(**facts, name="a", tags=(), architecture=SimpleNamespace(id="bert"))
    card = prior_card("lab/a#out", manifest)

    assert card.numbers == listed["numbers"]
    assert card.tags == set(listed["tags"]) - {"license=MIT"}
