"""Layers of the transformers library that run through `kernels.encoder`: the same weights, names and maths."""

from typing import Any, cast

from torch import Tensor, nn

from kernels.encoder import attention, linear

ATTENTION = "priorhub"
"""The name that the library knows `_attention` by."""


class Linear(nn.Linear):
    """`nn.Linear`, faster where nothing is learned."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Widened(nn.Module):
    """A linear layer `dense` and its GELU, which is computed where the sum is stored."""

    def __init__(self, dense: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.dense, self.act = dense, act

    def forward(self, x: Tensor) -> Tensor:
        dense = self.dense
        hooked = dense._forward_hooks or dense._forward_pre_hooks or "forward" in dense.__dict__
        plain = type(dense) is Linear and not hooked
        if plain:  # otherwise somebody changes what it gives, such as a delta that is trained
            return linear(x, cast(Tensor, dense.weight), cast("Tensor | None", dense.bias), gelu=True)
        out: Tensor = self.act(dense(x))
        return out


def with_kernels(model: nn.Module) -> None:
    """Lets all linear layers of a model of the library run through the kernel."""
    from transformers.activations import GELUActivation

    for module in list(model.modules()):
        if type(module) is nn.Linear:
            module.__class__ = Linear  # its parameters stay where they are, on the meta device too
    for module in list(model.modules()):
        inner = getattr(module, "intermediate", None)
        act = getattr(inner, "intermediate_act_fn", None)
        if not isinstance(act, GELUActivation) or act.act is not nn.functional.gelu or not isinstance(inner, nn.Module):
            continue  # another activation, or its tanh approximation
        if [name for name, _ in inner.named_children()] == ["dense", "intermediate_act_fn"]:
            module.add_module("intermediate", Widened(inner.get_submodule("dense"), act))


def register_attention() -> str:
    """Tells the library of `_attention`; gives the name to ask for it by."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attention)
    return ATTENTION


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What the library's own does by `scaled_dot_product_attention`, which gets the cases that are not plain."""
    causal = attention_mask is None and (getattr(module, "is_causal", True) if is_causal is None else is_causal)
    plain = not dropout and not causal and not any(value is not None for value in others.values())
    if plain and query.shape[1] == key.shape[1]:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return attention(query, key, value, attention_mask, scale), None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    found: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout, scaling, is_causal, **others
    )
    return found
