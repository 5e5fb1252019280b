"""The image families of the transformers library: each gives what the library's own model gives, from its own files."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from priors.errors import BadManifest
from priors.manifest import FileInfo, parse_manifest
from priors.registry import find_architecture
from priors.sources.plain import manifest_of
from priors.types import parse
from priors.weights import check_header, load_weights
from tests.priors._families import TEXT, VISION, quick

FAMILIES = pytest.mark.parametrize("name", VISION)
LIBRARY = {"clip-image": "clip_vision_model", "siglip-image": "siglip_vision_model", "mobilenet-v2": "mobilenet_v2"}


def library_model(name: str) -> Any:
    """The library's own model for the tiny config, with random weights."""
    import transformers

    family = find_architecture(name)(VISION[name])
    settings = family.config.settings(getattr(family.config, "depth", 0))
    config = transformers.AutoConfig.for_model(LIBRARY.get(name, name), **settings)
    return stirred(
        transformers.CLIPVisionModelWithProjection(config)
        if name == "clip-image"
        else transformers.AutoModel.from_config(config)
    )


def stirred(model: Any) -> Any:
    """Larger weights than a network's start, so that a mistake in a layer shows."""
    torch.manual_seed(0)
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            value.add_(torch.rand_like(value) * 0.3 if "running_var" in key else torch.randn_like(value) * 0.1)
    return model.eval().requires_grad_(False)


def loaded(name: str, config: dict[str, Any], state: dict[str, Tensor], *taps: str) -> nn.Module:
    """Our network with a published state, built on meta."""
    family = find_architecture(name)(config)
    with torch.device("meta"):
        module = family.build(taps or tuple(family.taps()))
    found = family.key_map(state)
    module.load_state_dict({key: found[key] for key in module.state_dict()}, assign=True)
    assert not [key for key, value in [*module.named_parameters(), *module.named_buffers()] if value.is_meta]
    return module.eval().requires_grad_(False)


def pixels(name: str, rows: int) -> Tensor:
    side = find_architecture(name)(VISION[name]).config.side
    return torch.randn(rows, 3, side, side, generator=torch.Generator().manual_seed(rows))


def published(model: Any, folder: Path) -> dict[str, Tensor]:
    model.save_pretrained(folder)
    return load_weights(folder / "model.safetensors")


@FAMILIES
def test_the_taps_are_those_of_the_library_from_its_own_file(name: str, tmp_path: Path) -> None:
    model, x = library_model(name), pixels(name, 3)
    module = loaded(name, VISION[name], published(model, tmp_path))
    found = dict(zip(find_architecture(name)(VISION[name]).taps(), module(x), strict=True))

    expected = model(x, output_hidden_states=True)

    if name == "clip-image":
        pairs = {"embedding": expected.image_embeds, "layer_2": expected.last_hidden_state}
    elif name in ("vit", "dinov2", "siglip-image"):
        pairs = {"final": expected.last_hidden_state, "layer_1": expected.hidden_states[1]}
        pairs |= {"embedding": expected.pooler_output} if name == "siglip-image" else {}
    else:
        stages = getattr(expected, "reshaped_hidden_states", None) or expected.hidden_states
        last = len(find_architecture(name)(VISION[name]).config.maps())
        pairs = {"features": expected.pooler_output.flatten(1), f"stage_{last}": stages[-1]}
    for tap, wanted in pairs.items():
        torch.testing.assert_close(found[tap], wanted, rtol=1e-4, atol=2e-5, msg=lambda m, t=tap: f"{t}: {m}")


PREPROCESSORS = {
    "vit": {"size": {"height": 32, "width": 32}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    "dinov2": {"size": {"shortest_edge": 48}, "crop_size": {"height": 42, "width": 42}, "do_center_crop": True,
               "resample": 3, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    "convnext": {"size": {"shortest_edge": 37}, "crop_pct": 0.875, "resample": 3,
                 "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
}  # fmt: skip
OTHERS = {"swin": "vit", "clip-image": "vit", "siglip-image": "vit", "resnet": "convnext", "mobilenet-v2": "convnext"}


@FAMILIES
def test_a_plain_repository_of_the_library_becomes_a_prior(name: str, tmp_path: Path) -> None:
    side = find_architecture(name)(VISION[name]).config.side
    preprocessor = dict(PREPROCESSORS[OTHERS.get(name, name)])
    if OTHERS.get(name) == "vit":
        preprocessor["size"] = {"height": side, "width": side}
    library_model(name).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    files = {"model.safetensors": FileInfo("a" * 64, 1)}
    header = check_header(tmp_path / "model.safetensors")

    def manifest(**change: Any) -> Any:
        given = {"name": "tiny", "config": config, "header": header, "files": files, "preprocessor": preprocessor}
        return manifest_of(**{**given, **change})

    found = manifest()
    assert found is not None and found.architecture.id == name
    assert found.taps[found.default_tap].kind == "vec.feat"
    assert found.host["fit"] == ("crop" if "crop_pct" in preprocessor or "crop_size" in preprocessor else "stretch")
    module = loaded(name, dict(found.architecture.config), load_weights(tmp_path / "model.safetensors"))
    assert all(out.isfinite().all() for out in module(pixels(name, 1)))
    for wrong in (
        {"preprocessor": None},
        {"preprocessor": {**preprocessor, "image_mean": [0.1] * 3}},
        {"preprocessor": {**preprocessor, "resample": 1}},
        {"config": {**config, "architectures": ["X"]}},
        {"config": {**config, "hidden_size": 32, "hidden_sizes": [8, 32], "embed_dim": 16, "depth_multiplier": 0.5}},
    ):
        assert manifest(**wrong) is None, wrong


def test_a_space_must_be_that_of_a_file_of_the_prior() -> None:
    config = {**VISION["clip-image"], "space": "b" * 16}
    family = find_architecture("clip-image")(config)
    document = {
        "prior": 1, "name": "half", "version": "1", "summary": "An image half.", "kind": "network",
        "architecture": {"id": "clip-image", "config": config}, "inputs": family.inputs(), "taps": family.taps(),
        "default_tap": "embedding", "license": {"spdx": "MIT"},
    }  # fmt: skip
    files = {"model.safetensors": {"sha256": "b" * 64, "size": 1}}
    assert parse_manifest({**document, "files": files}).tap().space == "clip/embedding/" + "b" * 16
    with pytest.raises(BadManifest, match="hash of none of its weight files"):
        parse_manifest({**document, "files": {"model.safetensors": {"sha256": "c" * 64, "size": 1}}})


@FAMILIES
def test_a_tap_alone_is_what_it_is_among_all_and_needs_fewer_weights(name: str) -> None:
    family = find_architecture(name)(VISION[name])
    state = family.build(tuple(family.taps())).state_dict()
    tap = next(tap for tap in family.taps() if tap.endswith("_1"))
    alone, together = loaded(name, VISION[name], state, tap), loaded(name, VISION[name], state)
    assert set(alone.state_dict()) < set(together.state_dict())
    everything = dict(zip(family.taps(), together(pixels(name, 2)), strict=True))
    torch.testing.assert_close(alone(pixels(name, 2))[0], everything[tap], rtol=0, atol=1e-6)


@quick(["vit", "swin"], VISION)
def test_the_exported_graph_gives_the_same_for_other_batches(name: str) -> None:
    family = find_architecture(name)(VISION[name])
    module = loaded(name, VISION[name], stirred(family.build(tuple(family.taps()))).state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = export(module, (pixels(name, 3),), dynamic_shapes=({0: Dim("B", min=1, max=64)},)).module()
    for rows in (1, 5):
        for a, b in zip(program(pixels(name, rows)), module(pixels(name, rows)), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_both_halves_of_one_file_give_the_library_s_embeddings_in_one_space(family: str, tmp_path: Path) -> None:
    import transformers

    sizes = {"text": dict(TEXT[f"{family}-text"]), "image": dict(VISION[f"{family}-image"])}
    halves = {
        part: find_architecture(f"{family}-{part}")({**config, "space": "0123456789abcdef"})
        for part, config in sizes.items()
    }
    text, image = (halves[part].config.settings(halves[part].config.depth) for part in ("text", "image"))
    if family == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=image, projection_dim=8)
        model = stirred(transformers.CLIPModel(config))
    else:
        image |= {"hidden_size": 12, "num_attention_heads": 2}
        sizes["image"] |= {"hidden_size": 12}
        model = stirred(transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=image)))
    state = published(model, tmp_path)
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    ids = torch.randint(3, 48, (2, 9)).masked_fill(~mask, 1)
    ids[[0, 1], [8, 4]] = 49  # CLIP's texts end in the highest id
    x = pixels(f"{family}-image", 2)

    [embedded] = loaded(f"{family}-text", sizes["text"], state, "embedding")(ids, mask)
    [seen] = loaded(f"{family}-image", sizes["image"], state, "embedding")(x)

    if family == "clip":
        model.config.text_config.eos_token_id = model.text_model.eos_token_id = 49
        expected = model.get_text_features(ids, attention_mask=mask.long()).pooler_output
    else:
        whole = torch.full((2, 40), 1)
        whole[:, :9] = ids
        expected = model.get_text_features(whole).pooler_output
    torch.testing.assert_close(embedded, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen, model.get_image_features(x).pooler_output, rtol=1e-4, atol=1e-5)
    spaces = {parse(half.taps()["embedding"]).space for half in halves.values()}
    assert spaces == {f"{family}/embedding/0123456789abcdef"}


@pytest.mark.parametrize(
    ("name", "change", "cause"),
    [
        ("vit", {"num_attention_heads": 3}, "attention heads"),
        ("vit", {"patch_size": 64}, "patch of 64"),
        ("vit", {"norm": "other"}, "norm"),
        ("resnet", {"depths": [1]}, "hidden_sizes"),
        ("swin", {"window_size": 7}, "window_size"),
        ("swin", {"num_heads": [3, 3]}, "num_heads"),
        ("clip-image", {"space": "mine"}, "space"),
    ],
)
def test_a_config_that_is_not_of_the_family_is_refused(name: str, change: dict[str, Any], cause: str) -> None:
    with pytest.raises(BadManifest, match=cause):
        find_architecture(name)({**VISION[name], **change})
