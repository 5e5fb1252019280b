"""From a merge to its tensors: every header is held against the others before a byte of weights is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import get_args

from composer.errors import BadGraph
from composer.merge import _deltas, _elementwise, _spans
from composer.merge.group import Group, Method, Reader
from composer.merge.layers import Stacks, comes_after, depth_of
from composer.merge.settings import Scalar, Settings, first_value
from composer.merge.source import Info, Output, Source, copied
from composer.merge.spec import MergeSpec, Part, Slice
from kernels.merge import MOST, Dtype
from priors.errors import BadWeights

METHODS: Mapping[str, Method] = {**_spans.METHODS, **_deltas.METHODS, **_elementwise.METHODS}
DTYPES: Mapping[str, Dtype] = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_MERGED = get_args(Dtype)


def find_method(name: str) -> Method:
    """Raises BadGraph with the nearest names."""
    if name not in METHODS:
        near = get_close_matches(name, METHODS, n=3) or sorted(METHODS)
        raise BadGraph(f"merge method {name[:60]!r} is not known. Use {', '.join(near)}.")
    return METHODS[name]


def plan(spec: MergeSpec, sources: Mapping[str, Source]) -> dict[str, Output]:
    """The tensors of a merge, by name in order. `sources` has every model the merge names.

    Raises BadGraph for a wrong method, parameter or slice, BadWeights naming the tensor and both shapes where inputs do
    not fit each other.
    """
    method = find_method(spec.method)
    for one in spec.slices:
        _check_count(spec, method, one)
    _check_parameters(spec, method)
    planner = _Planner(spec, method, sources)
    found = planner.whole() if all(p.layers is None for one in spec.slices for p in one.parts) else planner.sliced()
    return dict(sorted(found.items()))


@dataclass
class _Planner:
    spec: MergeSpec
    method: Method
    sources: Mapping[str, Source]

    def whole(self) -> dict[str, Output]:
        if len(self.spec.slices) != 1:
            raise BadGraph("slices need a layer_range in every source. Add it, or write 'models'.")
        [one] = self.spec.slices
        parts = self.parts(one)
        stacks = Stacks.of(self.sources[parts[0].model].tensors)
        self.same_names(parts)
        return {name: self.output(name, one, [(p, name) for p in parts], stacks.depth(name)) for name in stacks.names}

    def sliced(self) -> dict[str, Output]:
        stacks = {model: Stacks.of(self.sources[model].tensors) for model in self.spec.models}
        found: dict[str, Output] = {}
        at = 0
        for one in self.spec.slices:
            parts = self.parts(one)
            ranges = [self.range(part, stacks[part.model]) for part in parts]
            length = ranges[0][1] - ranges[0][0]
            if any(end - first != length for first, end in ranges):
                raise BadGraph(f"a slice takes layers {ranges} of its sources. Take equally many of each.")
            for offset in range(length):
                depth = depth_of(offset, length)
                for rest in self.rests(parts[0], stacks[parts[0].model], ranges[0][0] + offset):
                    name = f"{stacks[parts[0].model].main}{at + offset}.{rest}"
                    inputs = [
                        (part, f"{stacks[part.model].main}{first + offset}.{rest}")
                        for part, (first, _) in zip(parts, ranges, strict=True)
                    ]
                    found[name] = self.output(name, one, inputs, depth)
            at += length
        first, last = self.spec.slices[0], self.spec.slices[-1]
        for name in self.sources[self.parts(first)[0].model].tensors:
            if (
                not (place := stacks[self.parts(first)[0].model].place(name))
                or place[0] != stacks[self.parts(first)[0].model].main
            ):
                one = last if comes_after(name) else first
                found[name] = self.output(name, one, [(part, name) for part in self.parts(one)], 0.0)
        return found

    def parts(self, one: Slice) -> list[Part]:
        """The inputs of a slice, the base last where it is none of them."""
        base = one.base or self.spec.base
        parts = list(one.parts)
        if base is not None and base not in [part.model for part in parts]:
            parts.append(Part(base, {}, parts[0].layers))
        return parts

    def range(self, part: Part, stacks: Stacks) -> tuple[int, int]:
        if part.layers is None:
            raise BadGraph(
                f"{part.model} has no layer_range in a slice. Write the first layer and the one after the last."
            )
        first, end = part.layers
        if not 0 <= first < end <= stacks.sizes[stacks.main]:
            raise BadGraph(
                f"layers {first} to {end} of {part.model}: {stacks.main}* has {stacks.sizes[stacks.main]}. Correct it."
            )
        return first, end

    def rests(self, part: Part, stacks: Stacks, layer: int) -> list[str]:
        places = (stacks.place(name) for name in self.sources[part.model].tensors)
        return [place[2] for place in places if place and place[:2] == (stacks.main, layer)]

    def same_names(self, parts: list[Part]) -> None:
        first = self.sources[parts[0].model]
        for part in parts[1:]:
            other = self.sources[part.model]
            for name in sorted(first.tensors.keys() ^ other.tensors.keys()):
                lacks, has = (other, first) if name in first.tensors else (first, other)
                raise BadWeights(
                    f"{lacks.label} has no tensor {name}, {has.label} has one of {has.tensors[name]}: they differ. "
                    "Merge models of one family, or string them together as parts of a composition."
                )

    def output(self, name: str, one: Slice, inputs: list[tuple[Part, str]], depth: float) -> Output:
        infos = []
        for part, tensor in inputs:
            source = self.sources[part.model]
            if tensor not in source.tensors:
                raise BadWeights(f"{source.label} has no tensor {tensor}, which {name} is made of. Correct the slices.")
            infos.append(source.tensors[tensor])
            if infos[-1].shape != infos[0].shape:
                first = self.sources[inputs[0][0].model]
                raise BadWeights(
                    f"tensor {tensor} is {list(infos[0].shape)} in {first.label} and {list(infos[-1].shape)} in "
                    f"{source.label}. Merge models of one shape; for another vocabulary transplant it first (retok)."
                )
        dtypes = {info.dtype for info in infos}
        if not dtypes <= set(_MERGED):
            return self.same_everywhere(name, inputs, infos)
        work = DTYPES[self.spec.dtype] if self.spec.dtype else _promoted(dtypes)
        out: Dtype = DTYPES[self.spec.out_dtype] if self.spec.out_dtype else work
        info = Info(out, infos[0].shape)
        base = one.base or self.spec.base
        base_at = next((i for i, (part, _) in enumerate(inputs) if part.model == base), None)
        if self.method.base == "ignored" and base_at is None:
            base_at = -1
        where = f"merge {self.spec.method}: "
        shared = self.values("shared", name, depth, [one.parameters, self.spec.parameters], where)
        each = []
        for i, (part, tensor) in enumerate(inputs):
            scopes = [part.parameters, one.parameters, self.spec.parameters]
            own = self.values("input", tensor, depth, scopes, f"{where}{part.model}: ")
            if i != base_at:
                own |= self.values("other", tensor, depth, scopes, f"{where}{part.model}: ")
            each.append(own)

        def blocks() -> Iterator[memoryview]:
            readers = [Reader(self.sources[part.model], tensor) for part, tensor in inputs]
            at = -1 if base_at is None else base_at
            group = Group(
                name=name, info=info, work=work, shared=shared, seed=self.spec.seed,
                base=readers[at] if at >= 0 else None, base_at=max(at, 0), base_own=each[at] if at >= 0 else {},
                others=[reader for i, reader in enumerate(readers) if i != at],
                each=[own for i, own in enumerate(each) if i != at],
            )  # fmt: skip
            return self.method.run(group)

        return Output(info, blocks)

    def values(self, scope: str, tensor: str, depth: float, scopes: list[Settings], where: str) -> dict[str, Scalar]:
        return {
            name: first_value(scopes, name, tensor, depth, known.kind, known.default, where)
            for name, known in self.method.parameters.items()
            if known.scope == scope
        }

    def same_everywhere(self, name: str, inputs: list[tuple[Part, str]], infos: list[Info]) -> Output:
        """Counters, masks and other values that no mean is of: the first's, once they were seen to be the same."""
        if len(set(infos)) > 1:
            raise BadWeights(
                f"tensor {name} has dtypes {', '.join(sorted({i.dtype for i in infos}))}. Convert it first."
            )
        outputs = [copied(self.sources[part.model], tensor) for part, tensor in inputs]

        def blocks() -> Iterator[memoryview]:
            for several in zip(*(output.blocks() for output in outputs), strict=True):
                if any(block != several[0] for block in several[1:]):
                    raise BadWeights(
                        f"tensor {name} is {infos[0].dtype}, of which only equal ones are kept, and the inputs differ. "
                        "Make it the same in all of them."
                    )
                yield several[0]

        return Output(infos[0], blocks)


def _promoted(dtypes: set[str]) -> Dtype:
    """float32 where they differ."""
    return next((dtype for dtype in _MERGED if dtypes == {dtype}), "F32")


def _check_count(spec: MergeSpec, method: Method, one: Slice) -> None:
    base = one.base or spec.base
    models = [part.model for part in one.parts]
    if len(set(models)) != len(models):
        raise BadGraph(f"{next(m for m in models if models.count(m) > 1)!r} is merged with itself. Name it once.")
    if method.base == "required" and base is None:
        raise BadGraph(f"merge {spec.method} needs a base. Name it with 'base'.")
    everything = dict.fromkeys([*models, *([base] if base else [])])
    count = len(everything) if method.base == "ignored" else len([m for m in everything if m != base])
    most = method.most if method.most is not None else MOST - 1
    if not method.least <= count <= most:
        wanted = str(method.least) if method.least == most else f"{method.least} to {most}"
        beside = "" if method.base == "ignored" else " beside the base"
        raise BadGraph(f"merge {spec.method} takes {wanted} models{beside}, {count} are given. Change the list.")


def _check_parameters(spec: MergeSpec, method: Method) -> None:
    for what in (spec.dtype, spec.out_dtype):
        if what is not None and what not in DTYPES:
            raise BadGraph(f"dtype {what[:40]!r} is not known. Use {', '.join(DTYPES)}.")
    scopes = [
        spec.parameters,
        *(s.parameters for s in spec.slices),
        *(p.parameters for s in spec.slices for p in s.parts),
    ]
    for scope in scopes:
        for name in scope:
            if name not in method.parameters:
                known = ", ".join(method.parameters) or "none"
                raise BadGraph(f"merge {spec.method} has no parameter {name[:60]!r}. It has: {known}.")
