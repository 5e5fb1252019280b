"""Layers of the transformers library from a checked config: built offline, never from code that came with a model."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_NO_SDPA = ("deberta-v2", "mpnet", "resnet", "convnext", "mobilenet_v2")
"""Model types that have no attention, or one that the library writes out."""


def library_model(model_type: str, settings: Mapping[str, object], *, auto: str = "AutoModel") -> Any:
    """The library's own model with `settings`, linear layers and attention by `kernels.encoder` where it lets us.

    auto  which of the library's doors: `AutoModelForTextEncoding` gives T5's encoder alone, a class's name that class
    """
    # Imported here: reading a family's ports must not cost the seconds transformers takes to import.
    import transformers

    from priors.architectures._layers import register_attention, with_kernels

    config = transformers.AutoConfig.for_model(model_type, **settings)
    attention = "eager" if model_type in _NO_SDPA else register_attention()
    door: Any = getattr(transformers, auto)  # the library leaves its doors untyped
    if hasattr(door, "from_config"):
        model = door.from_config(config, attn_implementation=attention, trust_remote_code=False)
    else:
        model = door._from_config(config, attn_implementation=attention)  # a class of the library itself
    with_kernels(model)
    return model


def drop_buffers(module: nn.Module) -> nn.Module:
    """`module` without its own buffers that no file holds: they would stay behind when weights are loaded from meta."""
    for name in module._non_persistent_buffers_set.copy():
        delattr(module, name)
    return module


def renamed(
    state: Mapping[str, Tensor],
    prefixes: tuple[str, ...],
    parts: Mapping[str, str],
    inside: Sequence[tuple[str, str]] = (),
) -> dict[str, Tensor]:
    """A published state under our names: one of `prefixes` is left out, then each part's path becomes its name.

    parts   our name -> the path in the file; the longest path that fits counts
    inside  what a layer's tensors were called -> what the library calls them today, the first that fits
    """
    ways = sorted(parts.items(), key=lambda item: -len(item[1]))
    named = {}
    for key, tensor in state.items():
        key = next((key.removeprefix(prefix) for prefix in prefixes if key.startswith(prefix)), key)
        for ours, theirs in ways:
            if key == theirs or key.startswith(f"{theirs}."):
                key = ours + key.removeprefix(theirs)
                break
        if key.startswith("layers."):
            key = next((key.replace(old, new) for old, new in inside if old in key), key)
        named[key] = tensor
    return named


def blocked(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, T) of what is there -> (B, 1, 1, T) to add to attention scores. Finite: an empty row gives a mean."""
    zeros = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return zeros.masked_fill(~mask, torch.finfo(dtype).min)[:, None, None, :]


def blocked_pairs(mask: Tensor, allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """The same where query and key must also be an allowed pair (T, T): (B, 1, T, T)."""
    seen = mask[:, None, None, :] & allowed
    return torch.zeros(seen.shape, dtype=dtype, device=mask.device).masked_fill(~seen, torch.finfo(dtype).min)
