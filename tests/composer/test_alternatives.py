"""Errors of edges name priors of the library that would fit between the two nodes."""

import pytest

from composer.alternatives import alternatives, steps
from composer.check import check
from composer.errors import ModalityMismatch, PortMismatch
from composer.graph import Graph
from priors.library import LocalLibrary, resolver
from priors.types import parse
from tests.composer._tiny import tiny_library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> LocalLibrary:
    return tiny_library(tmp_path_factory.mktemp("library"))


def refused(nodes: dict, library: LocalLibrary, adapt: str = "trainable") -> PortMismatch:
    document = {"composition": 1, "adapt": adapt, "nodes": nodes, "outputs": {"y": "y"}}
    with pytest.raises(PortMismatch) as caught:
        check(Graph.from_dict(document), resolver(library), alternatives(library))
    return caught.value


def test_a_text_where_features_are_wanted_names_the_priors_that_read_text(library):
    nodes = {
        "text": {"op": "input", "type": "text.raw[B]:str"},
        "w": {"op": "load", "prior": "prior://tiny/mlp"},
        "y": {"op": "net", "in": {"w": "w", "x": "text"}},
    }

    error = refused(nodes, library)

    assert isinstance(error, ModalityMismatch)
    assert str(error).endswith("Priors that fit between them: tiny/words.")


def test_a_head_on_raw_text_names_the_priors_that_make_features_of_it(library):
    nodes = {
        "text": {"op": "input", "type": "text.raw[B]:str"},
        "y": {"op": "head", "in": ["text"], "labels": ["a", "b"]},
    }

    [_, names] = str(refused(nodes, library)).split("Priors that fit between them: ")

    assert "tiny/words" in names


def test_a_prior_that_needs_an_adapter_the_composition_forbids_is_not_named(library):
    nodes = {
        "text": {"op": "input", "type": "text.raw[B]:str"},
        "w": {"op": "load", "prior": "prior://tiny/mlp"},
        "y": {"op": "net", "in": {"w": "w", "x": "text"}},
    }

    assert "tiny/words" in str(refused(nodes, library))
    assert "Priors that fit" not in str(refused(nodes, library, adapt="none"))


def test_where_nothing_fits_nothing_is_named(library):
    nodes = {
        "picture": {"op": "input", "type": "image.raw[B]:u8"},
        "w": {"op": "load", "prior": "prior://tiny/mlp"},
        "y": {"op": "net", "in": {"w": "w", "x": "picture"}},
    }

    assert "Priors that fit" not in str(refused(nodes, library))


def test_steps_count_adapters():
    tokens = parse("text.tokens[B,T,D:16]:f32")

    assert steps(tokens, tokens) == 0
    assert steps(tokens, parse("vec.feat[B,D:8]:f32")) == 2
    assert steps(tokens, parse("image.raw[B]:u8")) is None
