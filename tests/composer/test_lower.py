"""Lowering a lock: what shares a pass, what is loaded when, and that the result is the maths the graph says."""

import numpy as np
import pytest
import torch

from composer.errors import BadGraph
from priors.errors import BadTable, BadWeights
from priors.load import load
from priors.weights import load_weights, save_weights
from tests.composer._tiny import fill, lowered, tiny_library

TEXTS = ["the cat sat", "", "a very very big dog ran under the red mat and not on the very big mat", "dog"]
TWO_TAPS = """
composition: 1
name: two taps
adapt: trainable
nodes:
  text: {op: input, type: "text.raw[B]:str"}
  w: {op: load, prior: "prior://tiny/words"}
  low: {op: net, in: {w: w, ids: text}, tap: layer_1}
  top: {op: net, in: {w: w, ids: text}, tap: layer_3}
  both: {op: concat, in: [low, top]}
  z: {op: fn, fn: standardize, in: [both]}
  y: {op: head, in: [z], labels: [no, yes]}
outputs: {y: y}
"""
GATE = """
composition: 1
name: gate
adapt: trainable
nodes:
  text: {op: input, type: "text.raw[B]:str"}
  w: {op: load, prior: "prior://tiny/words"}
  top: {op: net, in: {w: w, ids: text}, tap: layer_3}
  char: {op: fn, fn: char_ngrams, in: [text], dim: 64}
  both: {op: gate, in: [top, char]}
  y: {op: head, in: [both], labels: [no, yes]}
outputs: {y: y, both: both}
"""
TABLE = """
composition: 1
name: table
adapt: trainable
nodes:
  row: {op: input, type: "tab.num[B,C:3]:f32"}
  w: {op: load, prior: "prior://tiny/mlp"}
  m: {op: net, in: {w: w, x: row}, tap: output}
  y: {op: sum, in: [m, m], weights: [2, -0.5]}
outputs: {y: y}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return tiny_library(tmp_path_factory.mktemp("library"))


class Unreachable:
    """A library whose priors cannot be had."""

    def __init__(self, library):
        self.library = library

    def entries(self):
        return self.library.entries()

    def directory(self, ref):
        raise AssertionError(f"{ref} was loaded")


def test_the_module_is_the_maths_of_the_graph(library):
    model = lowered(library, TWO_TAPS)
    fill(model)

    [logits] = model.module(*model.encode({"text": TEXTS}))

    prior = load(library.root / "tiny" / "words")
    rows = []
    for text in TEXTS:  # one at a time: no padding, so a plain mean
        ids, mask = prior.encoder().encode([text])
        low, top = prior.module(("layer_1", "layer_3"))(ids, mask)
        seen = mask.any()
        rows.append(torch.cat([low.mean(1), top.mean(1)], 1) if seen else torch.zeros(1, 32))
    z = model.learned["z"](torch.cat(rows))
    head = model.learned["y"]
    torch.testing.assert_close(logits, z @ head.weight.T + head.bias, rtol=1e-4, atol=1e-5)


def test_taps_of_one_network_share_one_input_and_one_pass(library):
    model = lowered(library, TWO_TAPS)

    assert [(given.name, given.is_mask) for given in model.inputs] == [
        ("text_encode_low", False),
        ("text_encode_low_mask", True),
    ]
    assert sum(step.gives == ("low", "top") for step in model.module.steps) == 1


def test_a_part_that_reads_a_low_layer_does_not_compute_the_layers_above(library):
    model = lowered(library, TWO_TAPS)

    part = model.part([given.node for given in model.inputs[:1]] + ["text~encode~low#mask"], ["low"])

    assert len(part.calls) == 1 and len(part.calls[0].layers) == 1


def test_two_columns_of_one_type_stay_two_values(library):
    model = lowered(
        library,
        """
composition: 1
name: columns
adapt: trainable
nodes:
  title: {op: input, type: "text.raw[B]:str", column: title}
  body: {op: input, type: "text.raw[B]:str", column: body}
  a: {op: fn, fn: char_ngrams, in: [title], dim: 64}
  b: {op: fn, fn: char_ngrams, in: [body], dim: 64}
  y: {op: concat, in: [a, b]}
outputs: {y: y}
""",
    )

    found = model.features({"title": ["the cat"], "body": ["a dog"]}, ["y", "a", "b"])

    assert not np.array_equal(found["a"], found["b"])
    assert np.array_equal(found["y"], np.concatenate([found["a"], found["b"]], 1))


def test_equal_functions_of_one_value_are_computed_once(library):
    document = GATE.replace(
        "both: {op: gate, in: [top, char]}", "again: {op: fn, fn: char_ngrams, in: [text], dim: 64}"
    )
    model = lowered(library, document.replace("[both]", "[cat]").replace("both: both", "y2: y").replace(
        "  y: {op: head", "  cat: {op: concat, in: [top, char, again]}\n  y: {op: head"))  # fmt: skip

    assert [step.node for step in model.host] == ["text~encode~top", "char"]
    found = model.features({"text": TEXTS}, ["char", "again"])
    assert np.array_equal(found["char"], found["again"])


def test_features_keep_the_order_of_the_rows_whatever_their_lengths(library):
    model = lowered(library, TWO_TAPS)
    texts = [" ".join(["the big cat"] * (1 + (7 * i) % 10)) for i in range(600)]

    together = model.features({"text": texts}, ["both"])["both"]
    alone = np.concatenate([model.features({"text": [text]}, ["both"])["both"] for text in texts[:20]])

    assert together.shape == (600, 32) and together.dtype == np.float32
    np.testing.assert_allclose(together[:20], alone, rtol=1e-4, atol=1e-5)
    assert np.array_equal(together, model.features({"text": texts}, ["both"])["both"])


def test_features_agree_with_the_prior_alone(library):
    model = lowered(library, TWO_TAPS)
    prior = load(library.root / "tiny" / "words")

    ours = model.features({"text": TEXTS}, ["low~pool~both", "top~pool~both"])
    theirs = prior.features(TEXTS, ("layer_1", "layer_3"))

    np.testing.assert_allclose(ours["low~pool~both"], theirs["layer_1"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours["top~pool~both"], theirs["layer_3"], rtol=1e-4, atol=1e-5)


def test_progress_counts_rows_and_may_stop_the_work(library):
    model, seen = lowered(library, TWO_TAPS), []

    model.features({"text": TEXTS}, ["both"], progress=lambda done, count: seen.append((done, count)))

    assert seen[-1] == (4, 4) and seen == sorted(seen)

    def stop(done: int, count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.features({"text": TEXTS}, ["both"], progress=stop)


def test_no_rows_give_features_of_the_right_width(library):
    assert lowered(library, TWO_TAPS).features({"text": []}, ["both"])["both"].shape == (0, 32)


def test_what_needs_no_network_loads_none(library):
    model = lowered(Unreachable(library), GATE)

    assert model.features({"text": TEXTS}, ["char"])["char"].shape == (4, 64)
    part = model.part(["top~pool~both", "char"], ["y"])
    assert part(torch.randn(3, 16), torch.randn(3, 64))[0].shape == (3, 2)
    with pytest.raises(AssertionError, match="was loaded"):
        model.module  # noqa: B018


def test_a_part_trains_only_what_is_learned(library):
    model = lowered(library, GATE)
    whole = model.module

    whole(*model.encode({"text": TEXTS}))[0].square().sum().backward()
    wanted = {name for name, parameter in whole.named_parameters() if parameter.requires_grad}

    part = model.part(["top~pool~both", "char"], ["y"])
    assert len(wanted) == len(list(part.parameters())) == 6  # gate, projection into its space, head
    assert all(parameter.requires_grad for parameter in part.parameters())


def test_an_unfitted_gate_gives_its_first_operand(library):
    model = lowered(library, GATE)

    found = model.features({"text": TEXTS}, ["top~pool~both", "both"])

    assert np.abs(found["both"] - found["top~pool~both"]).max() <= 2e-3 * np.abs(found["top~pool~both"]).max()


def test_learned_parameters_go_to_a_file_and_back(library, tmp_path):
    model, other = lowered(library, GATE), lowered(library, GATE)
    fill(model)

    save_weights(model.learned_state(), tmp_path / "model.safetensors")
    other.load_learned(load_weights(tmp_path / "model.safetensors"))

    assert sorted(model.learned_state()) == [
        "both.bias", "both.weight", "char/proj/both.bias", "char/proj/both.weight",
        "y.bias", "y.temperature", "y.weight",
    ]  # fmt: skip
    inputs = model.encode({"text": TEXTS})
    assert torch.equal(model.module(*inputs)[0], other.module(*inputs)[0])


def test_random_parts_start_the_same_in_every_process(library):
    one, two = lowered(library, GATE), lowered(library, GATE)

    for name, value in one.learned_state().items():
        assert torch.equal(value, two.learned_state()[name])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("y.bias"), "'y.bias' is missing from"),
        (lambda s: s.update({"z.more": torch.ones(1)}), "'z.more' does not belong in"),
        (lambda s: s.update({"y.bias": torch.ones(5)}), "'y.bias' is (5,)"),
    ],
)
def test_parameters_of_another_composition_are_refused(change, said, library):
    model = lowered(library, GATE)
    state = dict(model.learned_state())
    change(state)

    with pytest.raises(BadWeights) as error:
        model.load_learned(state)

    assert said in str(error.value)


def test_a_fitted_function_takes_its_buffers_from_the_rows(library):
    model = lowered(library, TWO_TAPS)
    both = torch.from_numpy(model.features({"text": TEXTS}, ["both"])["both"])

    model.fit_function("z", both)

    z = model.features({"text": TEXTS}, ["z"])["z"]
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    assert any(name.startswith("z.") for name in model.learned_state())


def test_a_table_of_numbers_is_an_input_by_itself(library):
    model = lowered(library, TABLE)
    rows = np.arange(6.0).reshape(2, 3)

    found = model.features({"row": rows}, ["m", "y"])

    np.testing.assert_allclose(found["y"], 1.5 * found["m"], rtol=1e-6)
    assert model.inputs[0].name == "row"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "no values are given for input 'row'"),
        ({"row": np.zeros((2, 4))}, "its values are (2, 4)"),
        ({"row": [["a", "b", "c"]]}, "are no numbers"),
    ],
)
def test_values_that_are_not_the_input_are_named(columns, said, library):
    with pytest.raises(BadTable) as error:
        lowered(library, TABLE).features(columns, ["y"])

    assert said in str(error.value)


def test_columns_of_different_lengths_are_refused(library):
    document = TABLE.replace("outputs: {y: y}", "  t: {op: input, type: 'text.raw[B]:str'}\n"
        "  c: {op: fn, fn: char_ngrams, in: [t], dim: 64}\noutputs: {y: y, c: c}")  # fmt: skip

    with pytest.raises(BadTable, match="different numbers of rows"):
        lowered(library, document).encode({"row": np.zeros((2, 3)), "t": ["a"]})


def test_a_vocabulary_of_nobody_knows_whom_is_named_with_its_node(library):
    document = TWO_TAPS.replace("  low:", "  made: {op: retok, in: [w], vocab: other}\n  low:")

    with pytest.raises(BadGraph, match="does not say whose vocabulary") as error:
        lowered(library, document.replace("{w: w, ids: text}", "{w: made, ids: text}"))

    assert "node 'made'" in str(error.value)


def test_a_network_of_merged_weights_is_the_maths_of_the_merge(library):
    halved = "method: linear, weights: [0.25, 0.25], parameters: {normalize: false}"
    document = TWO_TAPS.replace("  low:", f"  made: {{op: merge, in: [w, w], {halved}}}\n  low:")
    model = lowered(library, document.replace("{w: w, ids: text}", "{w: made, ids: text}"))

    inputs = model.encode({"text": TEXTS})
    low = model.part([given.slot for given in model.inputs], ["low"])(*inputs)[0]

    theirs = load(library.root / "tiny" / "words").module(("layer_1",))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter /= 2
    torch.testing.assert_close(low, theirs(*inputs)[0])


def test_nets_that_train_the_same_weights_are_one_network_that_starts_as_the_prior(library, tmp_path):
    document = TWO_TAPS.replace("tap: layer_1}", "tap: layer_1, train: full}").replace(
        "tap: layer_3}", "tap: layer_3, train: full}"
    )
    model, frozen = lowered(library, document), lowered(library, TWO_TAPS)
    inputs = model.encode({"text": TEXTS})

    torch.testing.assert_close(model.module(*inputs)[0], frozen.module(*inputs)[0])
    assert [name for name in model.learned if name in ("low", "top")] == ["low"]
    with torch.no_grad():
        for parameter in model.learned["low"].parameters():
            parameter.mul_(1.5)
    save_weights(model.learned_state(), tmp_path / "model.safetensors")
    other = lowered(library, document)
    other.load_learned(load_weights(tmp_path / "model.safetensors"))
    given = [given.slot for given in model.inputs]
    torch.testing.assert_close(model.part(given, ["low", "top"])(*inputs), other.part(given, ["low", "top"])(*inputs))
    assert not torch.allclose(other.part(given, ["top"])(*inputs)[0], frozen.part(given, ["top"])(*inputs)[0])


def test_of_a_network_that_trains_its_last_layer_only_that_is_saved_and_learns(library):
    model = lowered(library, TWO_TAPS.replace("tap: layer_3}", "tap: layer_3, train: {last: 1}}"))

    saved = [name for name in model.learned_state() if name.startswith("top.")]

    assert saved and all(name.startswith("top.network.layers.2.") for name in saved)
    learns = {n for n, p in model.learned["top"].named_parameters() if p.requires_grad}
    assert learns == {name.removeprefix("top.") for name in saved}


def test_only_rows_of_numbers_are_features(library):
    with pytest.raises(BadGraph, match="Pool it first"):
        lowered(library, TWO_TAPS).features({"text": TEXTS}, ["top"])
