"""The text families of the transformers library: each gives what the library's own model gives, whatever is padded."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from priors.errors import BadManifest
from priors.families import config_class
from priors.families.text import TextConfig
from priors.manifest import FileInfo
from priors.registry import architecture_schema, find_architecture
from priors.sources.plain import manifest_of
from priors.types import parse
from priors.weights import check_header, load_weights, save_weights
from tests.priors._families import TEXT, quick

LIBRARY = {"t5-encoder": "t5", "clip-text": "clip_text_model", "siglip-text": "siglip_text_model"}

FAMILIES = pytest.mark.parametrize("name", TEXT)
SINGLE = pytest.mark.parametrize("name", [name for name in TEXT if name not in ("clip-text", "siglip-text")])
"""Those that are no half of a model of images and texts: see test_transformers_vision.py."""


def library_model(name: str) -> Any:
    """The library's own model for the tiny config, with random weights."""
    import transformers

    family = find_architecture(name)(TEXT[name])
    settings = family.config.settings(family.config.depth)
    config = transformers.AutoConfig.for_model(LIBRARY.get(name, name), **settings)
    doors = {
        "t5-encoder": transformers.AutoModelForTextEncoding.from_config,
        "clip-text": transformers.CLIPTextModelWithProjection,
        "siglip-text": transformers.SiglipTextModel,
    }
    torch.manual_seed(0)
    own = doors.get(name, transformers.AutoModel.from_config)(config)
    model = own.eval().requires_grad_(False)
    for parameter in model.parameters():  # larger than a network's start, so that a mistake in a layer shows
        parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def loaded(name: str, state: dict[str, Tensor], *taps: str) -> nn.Module:
    """Our network with a published state, built on meta."""
    family = find_architecture(name)(TEXT[name])
    with torch.device("meta"):
        module = family.build(taps or tuple(family.taps()))
    found = family.key_map(state)
    module.load_state_dict({key: found[key] for key in module.state_dict()}, assign=True)
    return module.eval().requires_grad_(False)


def texts(rows: int, length: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows * 100 + length)
    lengths = torch.randint(1, length + 1, (rows,), generator=generator)
    lengths[0] = length
    mask = torch.arange(length) < lengths.unsqueeze(1)
    ids = torch.randint(3, 50, (rows, length), generator=generator)
    return ids.masked_fill(~mask, 1 if length else 0), mask


@SINGLE
def test_the_hidden_states_are_those_of_the_library(name: str, tmp_path: Path) -> None:
    model = library_model(name)
    model.save_pretrained(tmp_path)
    state = load_weights(tmp_path / "model.safetensors")
    family: Any = find_architecture(name)(TEXT[name])
    pad = getattr(family.config, "pad_token_id", 0) or 0
    ids, mask = texts(3, 13)
    ids = ids.masked_fill(~mask, pad)

    expected = model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
    found = dict(zip(family.taps(), loaded(name, state)(ids, mask), strict=True))

    last = "final" if family.config.final else f"layer_{family.config.depth}"
    pairs = [(last, expected.last_hidden_state), *((f"layer_{i}", expected.hidden_states[i]) for i in range(3))]
    for tap, states in pairs:
        torch.testing.assert_close(
            found[tap][mask], states[mask], rtol=1e-5, atol=2e-5, msg=lambda m, t=tap: f"{t}: {m}"
        )


@SINGLE
def test_a_plain_repository_of_the_library_becomes_a_prior(name: str, tmp_path: Path) -> None:
    model = library_model(name)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    files = {"model.safetensors": FileInfo("a" * 64, 1), "tokenizer.json": FileInfo("b" * 64, 1)}
    header = check_header(tmp_path / "model.safetensors")

    manifest = manifest_of(name="tiny", config=config, header=header, files=files)

    assert manifest is not None
    assert manifest.architecture is not None and manifest.architecture.id == name
    read = {**manifest.architecture.config, "vocab": "tiny"}
    assert config_class(name, TextConfig)(**read) == config_class(name, TextConfig)(**TEXT[name])
    for wrong in ({**config, "vocab_size": 51}, {**config, "model_type": "other"}, {**config, "architectures": ["X"]}):
        assert manifest_of(name="tiny", config=wrong, header=header, files=files) is None


@FAMILIES
def test_taps_have_their_promised_types_and_none_computes_more_than_it_needs(name: str) -> None:
    family: Any = find_architecture(name)(TEXT[name])
    state = family.build(tuple(family.taps())).state_dict()
    ids, mask = texts(2, 9)
    together = dict(zip(family.taps(), loaded(name, state)(ids, mask), strict=True))
    for tap, out in together.items():
        t = parse(family.taps()[tap])
        assert out.dtype == torch.float32 and out.isfinite().all()
        assert all(axis.dim is None or axis.dim == n for axis, n in zip(t.axes[1:], out.shape[1:], strict=True))
    one = loaded(name, state, "layer_1")
    torch.testing.assert_close(one(ids, mask)[0], together["layer_1"], rtol=0, atol=1e-6)
    assert len(one.layers) == 1 and set(one.state_dict()) < set(state)


@FAMILIES
def test_what_the_mask_hides_changes_nothing(name: str) -> None:
    family: Any = find_architecture(name)(TEXT[name])
    state = {key: value + 0.1 * torch.randn_like(value) for key, value in library_model(name).state_dict().items()}
    module = loaded(name, state)
    ids, mask = texts(1, 7)
    longer = torch.cat([ids, torch.full((1, 8), 4)], 1)
    wider = torch.cat([mask, torch.zeros(1, 8, dtype=torch.bool)], 1)
    for tap, alone, padded in zip(family.taps(), module(ids, mask), module(longer, wider), strict=True):
        padded = padded[:, :7] if padded.dim() == 3 else padded
        torch.testing.assert_close(padded, alone, rtol=0, atol=1e-5, msg=lambda m, t=tap: f"{t}: {m}")
    assert all(out.isfinite().all() for out in module(ids, torch.zeros_like(mask)))


@FAMILIES
def test_weights_saved_and_loaded_give_the_same_bits(name: str, tmp_path: Path) -> None:
    family: Any = find_architecture(name)(TEXT[name])
    module = family.build(tuple(family.taps())).eval().requires_grad_(False)
    save_weights(module.state_dict(), tmp_path / "model.safetensors")
    again = loaded(name, load_weights(tmp_path / "model.safetensors"))
    assert not [key for key, value in [*again.named_parameters(), *again.named_buffers()] if value.is_meta]
    ids, mask = texts(2, 6)
    assert all(torch.equal(a, b) for a, b in zip(module(ids, mask), again(ids, mask), strict=True))


@quick(["llama", "clip-text"], TEXT)
def test_the_exported_graph_gives_the_same_at_other_sizes(name: str) -> None:
    module = loaded(name, library_model(name).state_dict())
    shape = {0: Dim("B", min=1, max=64), 1: Dim("T", min=1, max=30)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = export(module, texts(3, 11), dynamic_shapes=(shape, shape)).module()
    for rows, length in ((1, 1), (2, 5), (4, 24)):
        other = texts(rows, length)
        for a, b in zip(program(*other), module(*other), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_the_state_at_the_last_token_stands_for_a_text_in_a_decoder() -> None:
    module = loaded("gpt2", library_model("gpt2").state_dict(), "final", "last")
    ids, mask = texts(3, 9)
    final, last = module(ids, mask)
    ends = mask.sum(1) - 1
    assert torch.equal(last, final[torch.arange(3), ends])


def test_a_schema_is_known_without_torch() -> None:
    code = (
        "import json, sys\n"
        "from priors.registry import ARCHITECTURE_IDS, architecture_schema\n"
        "found = {name: sorted(architecture_schema(name)['properties']) for name in ARCHITECTURE_IDS}\n"
        "print(json.dumps([found, [name for name in ('torch', 'transformers', 'numpy') if name in sys.modules]]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    found, heavy = json.loads(out)
    assert heavy == []
    assert set(TEXT) < set(found)
    assert "n_embd" in found["gpt2"] and architecture_schema("gpt2")["additionalProperties"] is False


@pytest.mark.parametrize(
    ("name", "change", "cause"),
    [
        ("gpt2", {"n_head": 3}, "attention heads"),
        ("llama", {"num_key_value_heads": 3}, "num_key_value_heads"),
        ("llama", {"rope_scaling": {"rope_type": "yarn"}}, "rope_scaling"),
        ("mpnet", {"relative_attention_num_buckets": 8}, "relative_attention_num_buckets"),
        ("deberta-v2", {"pos_att_type": ["p2p"]}, "pos_att_type"),
        ("t5-encoder", {"feed_forward_proj": "os.system"}, "feed_forward_proj"),
        ("roberta", {"auto_map": {"AutoModel": "evil--code.Model"}}, "auto_map"),
    ],
)
def test_a_config_that_is_not_of_the_family_is_refused_by_the_name_of_its_key(
    name: str, change: dict[str, Any], cause: str
) -> None:
    with pytest.raises(BadManifest, match=cause):
        find_architecture(name)({**TEXT[name], **change})


def test_ports_of_the_largest_model_are_known_without_building_it() -> None:
    largest = {**TEXT["llama"], "hidden_size": 16_384, "num_attention_heads": 128, "num_key_value_heads": 8,
               "num_hidden_layers": 128, "intermediate_size": 65_536}  # fmt: skip
    config = config_class("llama", TextConfig).model_validate(largest)
    assert len(config.taps()) == 132
