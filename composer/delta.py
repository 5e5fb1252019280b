"""Small differences to a network's weights, learned beside weights that stay as they are.

    delta = Delta.of(network, kind="lora", targets=["layers.5.*"], r=8)     # equal to no difference at all
    with delta.live(network):                                               # the network now runs with the difference
        network(ids, mask)[0].sum().backward()                              # and only the difference gets gradients
    load_folded(network, [delta])                                           # plain weights: base and difference in one

A delta holds tensors named `<module>.<part>`; the base is never copied into it, so what is saved is small and the base
stays shared. Kinds:

    lora   W + alpha / r * B A, B starts at zero           Hu et al. 2021, arXiv:2106.09685
    dora   lora with the length of every row of W learned  Liu et al. 2024, arXiv:2402.09353
    ia3    every output times a number that starts at one  Liu et al. 2022, arXiv:2205.05638
    bias   a number added to every output                  Ben Zaken et al. 2021, arXiv:2106.10199
    full   a difference of W's own size

W is the weight of a linear layer, of a convolution, or of a product inside an LSTM (`layers.2.ih` reads the input of a
layer, `layers.2.hh` its state before). `full` also changes normalizations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from composer.errors import BadGraph
from priors.architectures.recurrence import Gates

Kind = Literal["lora", "dora", "ia3", "bias", "full"]

RANK = 8
"""Rank of lora and dora where a graph names none."""

_MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, Gates)
"""Modules whose weight is a matrix once its trailing axes are flattened: rows are outputs."""


class Delta(nn.Module):
    """The differences for the matched modules of one network. Made by `Delta.of`; its state dict is what is saved."""

    def __init__(self, parts: Mapping[str, _Part]) -> None:
        super().__init__()
        self._parts = dict(parts)  # registered once more below: a module's name may not hold dots
        for path, part in parts.items():
            *folders, last = path.split(".")
            place: nn.Module = self
            for name in folders:
                if name not in place._modules:
                    place.add_module(name, nn.Module())
                place = place.get_submodule(name)
            place.add_module(last, part)

    @classmethod
    def of(
        cls,
        network: nn.Module,
        *,
        kind: Kind,
        targets: Sequence[str] | None = None,
        r: int | None = None,
        alpha: float | None = None,
        seed: int = 0,
    ) -> Delta:
        """A delta for `network` (which may be on the meta device) that changes nothing yet.

        targets  globs over the names of its modules (`layers.[345].*`); all that the kind can change without any
        alpha    what lora's B A is multiplied by, times r; twice r by default

        Raises BadGraph when a glob matches no module that such a difference can be made for.
        """
        able = {path: module for path, module in network.named_modules() if _fits(module, kind)}
        chosen: set[str] = set()
        for glob in targets or ["*"]:
            found = {path for path in able if fnmatchcase(path, glob)}
            if not found:
                raise BadGraph(_no_target(glob, kind, able))
            chosen |= found
        rank = r or RANK
        generator = torch.Generator().manual_seed(seed)
        make: Mapping[Kind, Callable[[nn.Module], _Part]] = {
            "lora": lambda module: _Lora(module, rank, alpha or 2 * rank, generator),
            "dora": lambda module: _Dora(module, rank, alpha or 2 * rank, generator),
            "ia3": _Ia3,
            "bias": _Bias,
            "full": _Full,
        }
        return cls({path: make[kind](able[path]) for path in able if path in chosen})

    @property
    def paths(self) -> tuple[str, ...]:
        """The names of the modules it changes."""
        return tuple(self._parts)

    @contextmanager
    def live(self, network: nn.Module) -> Iterator[None]:
        """While open, `network` (frozen, of the architecture this was made for) runs with the difference.

        A network that was built no deeper than its taps lacks the modules above them; they are passed over.
        """
        modules = dict(network.named_modules())
        with ExitStack() as undo:
            for path, part in self._parts.items():
                if path in modules:
                    undo.callback(part.attach(modules[path]))
            yield

    def folded(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The changed tensors of a state dict, by name: plain weights with the difference in them."""
        found: dict[str, Tensor] = {}
        with torch.no_grad():
            for path, part in self._parts.items():
                names = {"weight": f"{path}.weight", "bias": f"{path}.bias"}
                if names["weight"] not in state:
                    continue  # above the taps, as in `live`
                weight, bias = part.fold(state[names["weight"]], state.get(names["bias"]))
                found[names["weight"]] = weight
                if bias is not None:
                    found[names["bias"]] = bias
        return found


def upper_half(network: nn.Module) -> list[str]:
    """Globs for the upper half of a network's longest row of layers; for all of it where that holds nothing to change.

    Few labels hardly move the lower half, and what nothing changes is computed once for all steps.
    """
    rows = [(path, row) for path, row in network.named_modules() if isinstance(row, nn.ModuleList | nn.Sequential)]
    path, row = max(rows, key=lambda found: len(found[1]), default=("", nn.ModuleList()))
    prefix = f"{path}." if path else ""
    upper = list(row.named_children())[len(row) // 2 :]
    holds = [(name, part) for name, part in upper if any(isinstance(one, _MATRICES) for one in part.modules())]
    return [f"{prefix}{name}" if isinstance(part, _MATRICES) else f"{prefix}{name}.*" for name, part in holds] or ["*"]


class Live(nn.Module):
    """forward(*inputs) -> those of `network` with the difference, which gets gradients. The delta is not part of it."""

    def __init__(self, network: nn.Module, delta: Delta) -> None:
        super().__init__()
        self.network, self._delta = network, (delta,)

    def forward(self, *given: Tensor) -> Any:
        with self._delta[0].live(self.network):
            return self.network(*given)


@contextmanager
def deltas_live(modules: Iterable[nn.Module]) -> Iterator[None]:
    """While open, parts of a composition are made with the deltas among `modules` beside the weights, to be trained."""
    deltas = [module for module in modules if isinstance(module, Delta)]
    for delta in deltas:
        delta.train()
    try:
        yield
    finally:
        for delta in deltas:
            delta.eval()


def load_folded(network: nn.Module, deltas: Sequence[Delta]) -> nn.Module:
    """`network` with the deltas in its weights, one after the other. Tensors it shared with others are left alone."""
    for delta in deltas:
        for name, value in delta.folded(network.state_dict()).items():
            path, _, part = name.rpartition(".")
            setattr(network.get_submodule(path), part, nn.Parameter(value, requires_grad=False))
    return network


class _Part(nn.Module):
    """The difference of one module: `fold` defines it, `attach` runs it."""

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        raise NotImplementedError

    def attach(self, module: nn.Module) -> Callable[[], None]:
        """Lets `module` run with the difference; gives what undoes it. Here: fold before every call."""
        weight, bias = module.get_parameter("weight"), module._parameters.get("bias")
        held = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        for name in held:
            del module._parameters[name]

        def before(module: nn.Module, args: tuple[Any, ...]) -> None:
            for name, value in zip(("weight", "bias"), self.fold(weight, bias), strict=True):
                if name in held:
                    module.__dict__[name] = value

        handle = module.register_forward_pre_hook(before)

        def undo() -> None:
            handle.remove()
            for name, value in held.items():
                module.__dict__.pop(name, None)
                module.register_parameter(name, value)

        return undo


class _Lora(_Part):
    """a (r, inputs), b (outputs, r)."""

    def __init__(self, module: nn.Module, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        outputs, inputs = _matrix(module)
        start = torch.empty(rank, inputs)
        nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=generator)
        self.a, self.b = nn.Parameter(start), nn.Parameter(torch.zeros(outputs, rank))
        self.scale = alpha / rank

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return weight + (self.scale * (self.b @ self.a)).view_as(weight).to(weight.dtype), bias

    def attach(self, module: nn.Module) -> Callable[[], None]:
        """Beside a Linear, so that no gradient of the size of its weight is ever computed."""
        if not isinstance(module, nn.Linear):
            return super().attach(module)

        def add(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return output + self.scale * linear(linear(args[0], self.a), self.b)

        return module.register_forward_hook(add).remove


class _Dora(_Lora):
    """Also m (outputs,): the length of each row, in parts of what it was."""

    def __init__(self, module: nn.Module, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__(module, rank, alpha, generator)
        self.m = nn.Parameter(torch.ones(len(self.b)))

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        turned = super().fold(weight, bias)[0]
        # The length is a constant to the gradient, as its authors advise: it halves the memory and changes little.
        before, after = weight.flatten(1).norm(dim=1), turned.detach().flatten(1).norm(dim=1)
        length = self.m * torch.where(after > 0, before / after.clamp(min=1e-30), torch.ones_like(after))
        return turned * length.view(-1, *(1,) * (weight.ndim - 1)), bias

    def attach(self, module: nn.Module) -> Callable[[], None]:
        return _Part.attach(self, module)


class _Ia3(_Part):
    """m (outputs,): what each output is multiplied by, its bias included."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.ones(_matrix(module)[0]))

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        rows = self.m.view(-1, *(1,) * (weight.ndim - 1))
        return weight * rows, None if bias is None else bias * self.m


class _Bias(_Part):
    """b (outputs,): added to the bias."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.zeros(_matrix(module)[0]))

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return weight, None if bias is None else bias + self.b


class _Full(_Part):
    """weight and bias, of the module's own shapes: added to its own."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        for name in ("weight", "bias"):
            base = getattr(module, name, None)
            self.register_parameter(name, None if base is None else nn.Parameter(torch.zeros(base.shape)))

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        changed = self._parameters.get("bias")
        return weight + self.get_parameter("weight"), None if bias is None or changed is None else bias + changed


def _fits(module: nn.Module, kind: Kind) -> bool:
    if kind == "full":
        return isinstance(module, _MATRICES) or type(module).__name__.endswith("Norm")
    return isinstance(module, _MATRICES) and (kind != "bias" or module.bias is not None)


def _matrix(module: nn.Module) -> tuple[int, int]:
    weight = module.get_parameter("weight")
    return weight.shape[0], weight[0].numel()


def _no_target(glob: str, kind: str, able: Mapping[str, nn.Module]) -> str:
    if not able:
        return f"the network has no layer that a {kind} delta can be made for. Use it frozen."
    shown = ", ".join(list(able)[:3])
    return f"target {glob!r} matches none of the {len(able)} layers a {kind} delta can be made for, such as {shown}."
