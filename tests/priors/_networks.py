"""Networks of tests: random weights that show mistakes, and our modules filled with a published state."""

from typing import Any

import torch
from torch import Tensor, nn


def stirred(model: Any) -> Any:
    """Larger weights than a network's start, so that a mistake in a layer shows."""
    torch.manual_seed(0)
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            value.add_(torch.rand_like(value) * 0.3 if "running_var" in key else torch.randn_like(value) * 0.1)
    return model.eval().requires_grad_(False)


def loaded(family: Any, state: dict[str, Tensor], *taps: str) -> nn.Module:
    """The family's network with a published state, built on meta."""
    with torch.device("meta"):
        module = family.build(taps or tuple(family.taps()))
    found = family.key_map(state)
    module.load_state_dict({key: found[key] for key in module.state_dict()}, assign=True)
    assert not [key for key, value in [*module.named_parameters(), *module.named_buffers()] if value.is_meta]
    return module.eval().requires_grad_(False)
