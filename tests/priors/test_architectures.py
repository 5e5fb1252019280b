"""The network families: types, taps, truncation, weights there and back, and export with dynamic shapes."""

import json
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from priors.architectures.efficientnet_lite import BATCH_NORM_EPS
from priors.architectures.recurrence import LstmLayer
from priors.errors import BadManifest, UnknownArchitecture
from priors.registry import ARCHITECTURE_IDS, architectures, find_architecture
from priors.types import parse
from priors.weights import load_weights, save_weights
from tests.priors._families import AUDIO, TEXT, TINY, VISION

OTHERS = tuple(TINY)
ANY = pytest.mark.parametrize("family", OTHERS)


def tiny(family: str):
    return find_architecture(family)(dict(TINY[family]))


def built(family: str, *taps: str) -> nn.Module:
    """The family's tiny network; a tensor's values depend on its name alone, not on which taps are built."""
    arch = tiny(family)
    module = arch.build(taps or tuple(arch.taps()))
    for name, value in module.state_dict().items():
        generator = torch.Generator().manual_seed(sum(name.encode()))
        value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
    return module.eval().requires_grad_(False)


def some_input(family: str, rows: int, length: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(rows * 1000 + length)
    lengths = torch.randint(1, length + 1, (rows,), generator=generator)
    lengths[0] = length
    mask = torch.arange(length) < lengths.unsqueeze(1)
    match family:
        case "bert" | "bert-directions" | "lexicon":
            return torch.randint(0, 50, (rows, length), generator=generator), mask
        case "efficientnet-lite":
            return (torch.randn(rows, 3, 64, 64, generator=generator),)
        case "lstm-speaker":
            return torch.rand(rows, length, 6, generator=generator), mask
        case _:
            return (torch.randn(rows, 3, generator=generator),)


def test_the_registry_has_exactly_the_ids_it_announces():
    assert (
        tuple(sorted(architectures()))
        == tuple(sorted(ARCHITECTURE_IDS))
        == tuple(sorted({*TEXT, *VISION, *AUDIO, *TINY, "onnx", "timm"}))
    )


def test_an_unknown_architecture_is_refused_with_the_nearest_id():
    with pytest.raises(UnknownArchitecture, match="bert"):
        find_architecture("bertt")


@ANY
def test_outputs_have_the_shapes_that_the_taps_promise(family):
    arch = tiny(family)
    taps = {name: parse(text) for name, text in arch.taps().items()}
    outputs = built(family)(*some_input(family, 2, 9))
    assert len(outputs) == len(taps)
    for out, t in zip(outputs, taps.values(), strict=True):
        assert out.dtype == torch.float32
        assert out.isfinite().all()
        assert out.shape[0] == 2
        assert all(axis.dim is None or axis.dim == n for axis, n in zip(t.axes[1:], out.shape[1:], strict=True))


@ANY
def test_inputs_and_averages_are_well_formed(family):
    arch = tiny(family)
    assert all(str(parse(text)) == text for text in [*arch.inputs().values(), *arch.taps().values()])
    for name, parts in arch.averages().items():
        assert {name, *parts} <= set(arch.taps())


@ANY
def test_each_tap_alone_equals_all_taps_together_and_needs_no_more_weights(family):
    inputs = some_input(family, 3, 11)
    together = dict(zip(tiny(family).taps(), built(family)(*inputs), strict=True))
    every = set(built(family).state_dict())
    for tap, expected in together.items():
        alone = built(family, tap)
        torch.testing.assert_close(alone(*inputs)[0], expected, rtol=0, atol=1e-6)
        assert set(alone.state_dict()) <= every


@ANY
def test_taps_come_in_the_order_asked_for(family):
    taps = tuple(tiny(family).taps())
    inputs = some_input(family, 2, 8)
    forth, back = built(family, *taps)(*inputs), built(family, *taps[::-1])(*inputs)
    assert all(torch.equal(a, b) for a, b in zip(forth, back[::-1], strict=True))


def test_layers_above_the_highest_tap_are_not_built():
    assert len(built("bert", "layer_2").layers) == 2
    assert len(built("bert", "layer_0").layers) == 0
    assert built("efficientnet-lite", "stage_2").head is None
    assert len(built("mlp", "penultimate").layers) == 2


def test_the_average_of_layers_is_the_mean_of_their_hidden_states():
    arch = tiny("bert")
    assert arch.averages() == {"layers_2_3": ["layer_2", "layer_3"]}
    *layers, average = built("bert", "layer_2", "layer_3", "layers_2_3")(*some_input("bert", 2, 7))
    torch.testing.assert_close(average, torch.stack(layers).mean(0))


def test_an_encoder_of_two_layers_has_no_average():
    assert find_architecture("bert")({**TINY["bert"], "num_hidden_layers": 2}).averages() == {}


@pytest.mark.parametrize("family", ["bert", "lstm-speaker"])
def test_padding_does_not_change_what_the_mask_keeps(family):
    module = built(family)
    values, mask = some_input(family, 1, 12)
    longer = torch.full((1, 20, *values.shape[2:]), 3, dtype=values.dtype)
    longer[:, :12] = values
    wider = torch.zeros(1, 20, dtype=torch.bool)
    wider[:, :12] = mask
    for short, long in zip(module(values, mask), module(longer, wider), strict=True):
        torch.testing.assert_close(long[:, :12] if long.dim() == 3 else long, short, rtol=0, atol=1e-6)


def test_a_row_without_tokens_gives_finite_numbers():
    ids, mask = some_input("bert", 2, 5)
    mask[1] = False
    assert all(out.isfinite().all() for out in built("bert")(ids, mask))


def test_the_speaker_embedding_is_the_mean_over_the_windows_that_are_mostly_sound():
    module = built("lstm-speaker")
    mel = torch.rand(1, 40, 6)
    # Windows of 16 frames begin every 6; one counts while 12 of its frames lie before the last frame: 0, 6, 12, 18, 24.
    windows = torch.stack([torch.nn.functional.pad(mel[0], (0, 0, 0, 16))[at : at + 16] for at in range(0, 25, 6)])
    expected = module._embed(windows).mean(0)
    [found] = module(mel, torch.ones(1, 40, dtype=torch.bool))
    torch.testing.assert_close(found[0], expected / expected.norm())


def test_a_recording_shorter_than_a_window_is_filled_with_silence():
    module = built("lstm-speaker")
    mel = torch.rand(1, 3, 6)
    [found] = module(mel, torch.ones(1, 3, dtype=torch.bool))
    silent = torch.nn.functional.pad(mel, (0, 0, 0, 13))
    torch.testing.assert_close(found, module._embed(silent))


def test_the_lstm_is_the_arithmetic_of_pytorch_lstm():
    own, theirs = built("lstm-speaker"), nn.LSTM(6, 8, 2, batch_first=True)
    linear = nn.Linear(8, 7)
    published = {f"lstm.{key}": value for key, value in theirs.state_dict().items()}
    published |= {f"linear.{key}": value for key, value in linear.state_dict().items()}
    own.load_state_dict(tiny("lstm-speaker").key_map(published))
    x = torch.rand(3, 16, 6)
    torch.testing.assert_close(own._embed(x), nn.functional.normalize(linear(theirs(x)[0][:, -1]).relu(), dim=-1))
    learned, known = own.layers[1].hh.requires_grad_(True), theirs.weight_hh_l1
    own._embed(x)[:, 0].sum().backward()
    nn.functional.normalize(linear(theirs(x)[0][:, -1]).relu(), dim=-1)[:, 0].sum().backward()
    torch.testing.assert_close(learned.weight.grad, known.grad)


def test_a_recurrence_is_exported_for_any_length_after_one_of_a_fixed_length():
    batch, length = Dim("batch", min=1), Dim("length", min=1)
    with torch.no_grad():
        export(LstmLayer(6, 8), (torch.rand(3, 16, 6),), dynamic_shapes=({0: batch},))
        layer = LstmLayer(6, 8)
        program = export(layer, (torch.rand(3, 11, 6),), dynamic_shapes=({0: batch, 1: length},))
        x = torch.rand(2, 16, 6)
        torch.testing.assert_close(program.module()(x), layer(x))


def test_batch_normalization_is_folded_into_its_convolution():
    arch = tiny("efficientnet-lite")
    conv, norm = nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32, eps=BATCH_NORM_EPS).eval()
    for values, low in ((norm.weight, 0.5), (norm.bias, -1), (norm.running_mean, -1), (norm.running_var, 0.5)):
        nn.init.uniform_(values, low, low + 1)
    state = {f"_conv_stem.{k}": v for k, v in conv.state_dict().items()}
    state |= {f"_bn0.{k}": v for k, v in norm.state_dict().items()}
    folded = arch.key_map(state)
    assert set(folded) == {"stem.conv.weight", "stem.conv.bias"}
    x = torch.randn(2, 3, 8, 8)
    after = nn.functional.conv2d(x, folded["stem.conv.weight"], folded["stem.conv.bias"])
    torch.testing.assert_close(after, norm(conv(x)))


@pytest.mark.parametrize(("size", "kernel", "stride"), [(224, 3, 2), (112, 5, 2), (14, 3, 1), (15, 3, 2), (7, 5, 1)])
def test_padding_is_that_of_same_with_the_odd_pixel_after(size, kernel, stride):
    from priors.architectures.efficientnet_lite import _Conv

    conv = _Conv(1, 1, kernel, stride, size)
    nn.init.ones_(conv.conv.weight)
    nn.init.zeros_(conv.conv.bias)
    row = torch.zeros(1, 1, size, size)
    row[0, 0, 0, 0] = 1  # reached by the first output only if the padding before is smaller than the kernel
    out = conv(row)
    steps = -(-size // stride)
    assert out.shape[-1] == steps
    before = max((steps - 1) * stride + kernel - size, 0) // 2
    reached = sum(1 for at in range(steps) if at * stride - before <= 0 < at * stride - before + kernel)
    assert (out[0, 0, 0] > 0).sum() == reached


# EfficientNet's files have other names than its module: the tests of the starter catalogue load a real one.
@pytest.mark.parametrize("family", ["bert", "lstm-speaker", "mlp", "resmlp", "ft-transformer"])
def test_weights_saved_and_loaded_on_meta_give_the_same_outputs(family, tmp_path):
    module = built(family)
    save_weights(module.state_dict(), tmp_path / "model.safetensors")
    arch = tiny(family)
    with torch.device("meta"):
        again = arch.build(tuple(arch.taps()))
    again.load_state_dict(arch.key_map(load_weights(tmp_path / "model.safetensors")), assign=True)
    assert not [name for name, value in [*again.named_parameters(), *again.named_buffers()] if value.is_meta]
    inputs = some_input(family, 2, 9)
    assert all(torch.equal(a, b) for a, b in zip(module(*inputs), again.eval()(*inputs), strict=True))


def test_published_names_with_and_without_prefix_are_understood():
    arch = tiny("bert")
    one = torch.ones(1)
    for prefix in ("", "bert."):
        assert set(arch.key_map({f"{prefix}encoder.layer.0.output.dense.bias": one})) == {"layers.0.output.dense.bias"}


@ANY
def test_the_exported_graph_gives_the_same_at_other_sizes(family):
    module = built(family)
    batch, length = Dim("B", min=1, max=64), Dim("T", min=1, max=40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning of the exporter is a mistake in a module
        inputs = some_input(family, 3, 21)
        lengths = family in ("bert", "bert-directions", "lexicon", "lstm-speaker")
        shapes = tuple({0: batch, 1: length} if lengths else {0: batch} for _ in inputs)
        program = export(module, inputs, dynamic_shapes=shapes)
    exported = program.module()
    for rows, size in ((1, 1), (1, 7), (2, 16), (5, 21), (4, 40)):
        other = some_input(family, rows, size)
        for a, b in zip(exported(*other), module(*other), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "change", "cause"),
    [
        ("bert", {"hidden_size": 15}, "attention heads"),
        ("bert", {"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ("bert", {"vocab": "a,b}"}, "vocab"),
        ("bert", {"auto_map": {"AutoModel": "evil--code.Model"}}, "auto_map"),
        ("bert", {"hidden_act": "os.system"}, "hidden_act"),
        ("efficientnet-lite", {"width": -1.0}, "width"),
        ("efficientnet-lite", {"width": float("nan")}, "width"),
        ("lstm-speaker", {"window": 0}, "window"),
        ("mlp", {"widths": []}, "widths"),
        ("mlp", {"columns": "3"}, "columns"),
        ("mlp", {"extra": 1}, "extra"),
        ("ft-transformer", {"heads": 3}, "heads"),
        ("ft-transformer", {"columns": 100_000}, "columns"),
    ],
)
def test_a_config_that_is_not_of_the_family_is_refused_by_the_name_of_its_key(family, change, cause):
    with pytest.raises(BadManifest, match=cause) as caught:
        find_architecture(family)({**TINY[family], **change})
    assert "\n" not in str(caught.value)


@ANY
def test_an_unknown_tap_is_refused_with_the_nearest_ones(family):
    with pytest.raises(BadManifest, match="has no tap 'layer_99'"):
        tiny(family).build(("layer_99",))
    with pytest.raises(BadManifest, match="no tap was asked for"):
        tiny(family).build(())


@ANY
def test_configs_are_json(family):
    assert tiny(family).config.model_dump(mode="json") == json.loads(json.dumps(tiny(family).config.model_dump()))


def test_types_are_known_without_building_a_network():
    big = {**TINY["bert"], "hidden_size": 16_384, "num_hidden_layers": 128, "num_attention_heads": 128}
    assert len(find_architecture("bert")(big).taps()) == 131


def test_what_somebody_puts_on_a_widened_layer_still_counts():
    from priors.architectures._layers import Linear, Widened

    dense = nn.Linear(8, 16).requires_grad_(False)
    dense.__class__ = Linear
    widened, x = Widened(dense, nn.GELU()), torch.randn(3, 8)
    plain = nn.functional.gelu(nn.functional.linear(x, dense.weight, dense.bias))
    torch.testing.assert_close(widened(x), plain)

    handle = dense.register_forward_hook(lambda module, given, made: made + 1)
    assert (widened(x) > plain).any()
    handle.remove()
    dense.__dict__["forward"] = lambda x: torch.full((len(x), 16), 100.0)
    assert (widened(x) == 100).all()
