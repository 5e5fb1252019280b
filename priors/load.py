"""A prior on this machine, ready to run: its files verified first, its network built, its features computed.

prior = load("var/priors/priorhub/all-minilm-l6-v2")
prior.features(["free entry, text WIN"], ("layer_3", "layer_6"))["layer_6"]     # (1, 384) float32
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priors.errors import BadManifest, BadType, BadWeights
from priors.manifest import PriorManifest, read_manifest
from priors.onnx_graph import check_graph
from priors.registry import Architecture, Function, find_architecture, find_function
from priors.types import PortType
from priors.weights import SNIFF_BYTES, check_header, found_sha256, load_weights, sniff

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from priors.host import HostEncoder

Progress = Callable[[int, int], None]
"""Called with (rows done, rows in all) after each batch."""

BATCH_POSITIONS = 1_024
"""Tokens or frames in a batch, padding included: one pass then stays in the processor's cache. Measured on two cores,
MiniLM, 1,441 sentences: 512 and 1,024 take 4.2 s, 128 takes 6.9 s, 8,192 takes 7.9 s."""

BATCH_ROWS = 8
"""Rows in a batch where rows have one size, such as images. Measured, EfficientNet-Lite0: 4 to 16 are within a fifth of
each other, 32 and more take up to twice as long."""

ENCODED_AT_ONCE = {"text": 256}
ENCODED_AT_ONCE_OTHERWISE = 32
"""Rows that go through the host encoder together, and are then cut into batches of similar length. 32 recordings of an
hour take 2 GB when encoded, 32 images of 1,024 pixels 0.4 GB, 256 texts at most 20 MB."""

POOLED_AXES = ("T", "S", "H", "W")
"""Axes that features are averaged over: time, slots, height, width."""


@dataclass(frozen=True)
class Prior:
    """A verified prior. Made by `load`."""

    manifest: PriorManifest
    directory: Path

    def encoder(self) -> HostEncoder:
        """Turns raw values into the tensors of the input ports, as `manifest.host` says."""
        from priors.host import encoder_for

        return encoder_for(self.manifest, self.directory)

    def architecture(self) -> Architecture:
        """The network's family with this prior's config. Raises BadManifest when it lacks a declared port."""
        if self.manifest.architecture is None:
            raise BadManifest(f"prior {self.manifest.name!r} is a function, not a network. Ask for `function()`.")
        definition = self.manifest.architecture
        family = find_architecture(definition.id)(dict(definition.config))
        for what, declared, known in (
            ("input", self.manifest.inputs, family.inputs()),
            ("tap", self.manifest.taps, family.taps()),
        ):
            for name, port in declared.items():
                if known.get(name) != str(port):
                    raise BadManifest(
                        f"prior {self.manifest.name!r}: {what} {name!r} is declared {port}, but {definition.id} has "
                        f"{known.get(name, f'no such {what}')}. Correct prior.json."
                    )
        return family

    def function(self) -> Function:
        """The function prior's definition, ready to call. Raises BadManifest for a network."""
        if self.manifest.function is None:
            raise BadManifest(f"prior {self.manifest.name!r} is a network, not a function. Ask for `module(taps)`.")
        return find_function(self.manifest.function.id)(dict(self.manifest.function.config))

    def module(self, taps: Sequence[str], tensors: Mapping[str, Tensor] | None = None) -> nn.Module:
        """The network, no deeper than `taps` need: eval mode, frozen, on the CPU; gives a tuple in the order of `taps`.

        tensors  other weights for it, under the names of its files; its own without any

        Raises BadManifest for a tap it does not have, BadWeights when the files hold other tensors than it needs.
        """
        import torch

        family = self.architecture()
        if hasattr(family, "open"):  # a network that is a file of its own, not tensors for layers of ours
            [file] = self.manifest.weight_files
            opened: nn.Module = family.open(self.directory / file, self.manifest.files[file].sha256, tuple(taps))
            return opened.eval()
        with torch.device("meta"):  # no memory and no random numbers for values that are about to be replaced
            module = family.build(tuple(taps))
        held = dict(self.tensors() if tensors is None else tensors)
        module.load_state_dict(_matching(family.key_map(held), module.state_dict(), self.manifest.name), assign=True)
        return module.eval().requires_grad_(False)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of its files, verified, under the names they were published by. Raises BadWeights."""
        held: dict[str, Tensor] = {}
        for name in self.manifest.weight_files:
            held |= load_weights(self.directory / name, self.manifest.files[name].sha256)
        return held

    def features(
        self, values: Sequence[Any], taps: Sequence[str], *, progress: Progress | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """One row of features a value and tap, all taps in one pass: {tap: (n, D) float32}.

        values    raw values of the prior's modality: strings, image or audio files, waves (see `priors.host`)
        taps      names from the manifest; what has time, slots, height or width is averaged over them, over the real
                  (unmasked) positions only

        Values run in batches of similar length. Equal calls give equal bits; in other company a value's features may
        differ in the last ones. Raises BadText, BadImage, BadAudio for a value that cannot be read.
        """
        if self.manifest.function is not None:
            return {tap: self._extracted(values, tap, progress) for tap in taps}
        return _run(self, values, tuple(dict.fromkeys(taps)), progress)

    def _extracted(self, values: Sequence[Any], tap: str, progress: Progress | None) -> NDArray[np.float32]:
        self.manifest.tap(tap)
        function: Any = self.function()
        if not function.host:
            raise BadType(f"{self.manifest.name!r} works on numbers inside a model. Use it as a node of a composition.")
        found: NDArray[np.float32] = function.extract(values)
        if progress:
            progress(len(values), len(values))
        return found


def load(directory: Path | str) -> Prior:
    """The prior in a folder, after every file its manifest lists was checked; needs no torch.

    Raises BadManifest without a valid prior.json, BadWeights when a file is missing, truncated, changed, hostile or of
    a kind that priors do not hold. Nothing of the prior is run.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    verify(manifest, directory)
    return Prior(manifest, directory)


def verify(manifest: PriorManifest, directory: Path) -> None:
    """Checks each listed file: there, of an accepted kind, of the promised size, its header, its sha256."""
    for name, info in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise BadWeights(f"{name} is missing from {directory}. Fetch the prior again.")
        with path.open("rb") as file:
            sniff(file.read(SNIFF_BYTES), name)
        if (size := path.stat().st_size) != info.size:
            raise BadWeights(
                f"{name} has {size:,} bytes, expected {info.size:,}: truncated or changed. Fetch it again."
            )
        if path.suffix == ".safetensors":
            check_header(path)
        if path.suffix == ".onnx":
            with path.open("rb") as file:
                check_graph(name, file, size)
        if (found := found_sha256(path)) != info.sha256:
            raise BadWeights(
                f"{name} has sha256 {found[:12]}…, expected {info.sha256[:12]}…: it was changed. Fetch it again."
            )


def _matching(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], prior: str) -> dict[str, Tensor]:
    """Of `state` what the network has, in its dtypes; more may be there (heads, layers above the highest tap)."""
    found = {}
    for name, place in wanted.items():
        if name not in state:
            raise BadWeights(f"prior {prior!r}: its files lack the tensor for {name!r}. Publish the complete weights.")
        if state[name].shape != place.shape:
            raise BadWeights(
                f"prior {prior!r}: {name!r} has shape {tuple(state[name].shape)}, "
                f"its config says {tuple(place.shape)}. Correct one of them."
            )
        found[name] = state[name].to(place.dtype)
    return found


def _run(prior: Prior, values: Sequence[Any], taps: tuple[str, ...], progress: Progress | None) -> dict[str, Any]:
    import numpy as np
    import torch

    types = {tap: prior.manifest.tap(tap) for tap in taps}
    module, encoder = prior.module(taps), prior.encoder()
    found = {tap: np.empty((len(values), _width(t)), np.float32) for tap, t in types.items()}
    order = list(range(len(values)))
    if prior.manifest.modality == "text":
        order.sort(key=lambda i: len(str(values[i])))  # of other values nothing is known before they are encoded
    at_once = ENCODED_AT_ONCE.get(prior.manifest.modality, ENCODED_AT_ONCE_OTHERWISE)
    done = 0
    with torch.inference_mode():
        for start in range(0, len(order), at_once):
            rows = np.array(order[start : start + at_once])
            for at, inputs, masks in batches(prior.manifest, encoder.encode([values[i] for i in rows])):
                for (tap, t), out in zip(types.items(), module(*inputs), strict=True):
                    found[tap][rows[at]] = pooled(out, t, masks).numpy()
                done += len(at)
                if progress:
                    progress(done, len(values))
    return found


def _width(t: PortType) -> int:
    [width] = [axis.dim for axis in t.axes if axis.name not in (*POOLED_AXES, "B")]
    if not isinstance(width, int):
        raise BadManifest(f"tap type {t} has no fixed number of features. Give its axis a length.")
    return width


def batches(
    manifest: PriorManifest, tensors: tuple[Tensor, ...]
) -> Iterator[tuple[list[int], tuple[Tensor, ...], dict[str, Tensor]]]:
    """Cuts encoded rows into batches: (which rows, the inputs for them, the mask of each axis that has one).

    Rows of different lengths are sorted by length, and each batch is cut to its longest; padding is at the end.
    """
    masked = {}  # axis name -> which tensor is its mask; a mask follows the port it belongs to
    position = 0
    for port in manifest.inputs.values():
        if port.attr("mask"):
            masked[port.axes[1].name] = position + 1
        position += 2 if port.attr("mask") else 1

    rows = len(tensors[0])
    if len(masked) != 1:
        for start in range(0, rows, BATCH_ROWS):
            part = tuple(tensor[start : start + BATCH_ROWS] for tensor in tensors)
            yield list(range(start, start + len(part[0]))), part, {axis: part[at] for axis, at in masked.items()}
        return

    [(axis, mask_at)] = masked.items()
    lengths = tensors[mask_at].sum(1).tolist()
    order = sorted(range(rows), key=lengths.__getitem__)
    start = 0
    while start < rows:
        stop = start + 1
        while stop < rows and (stop + 1 - start) * lengths[order[stop]] <= BATCH_POSITIONS:
            stop += 1
        at = order[start:stop]
        longest = max(lengths[at[-1]], 1)
        cut = tuple(
            tensor[at, :longest] if i in (mask_at - 1, mask_at) else tensor[at] for i, tensor in enumerate(tensors)
        )
        yield at, cut, {axis: cut[mask_at]}
        start = stop


def pooled(x: Tensor, t: PortType, masks: Mapping[str, Tensor]) -> Tensor:
    """x of type t, averaged over its time, slot, height and width axes, over what `masks[axis]` (B, n) marks."""
    for at in range(x.ndim - 1, 0, -1):
        name = t.axes[at].name
        if name not in POOLED_AXES:
            continue
        if name in masks:
            mask = masks[name].to(x.dtype)
            weight = mask / mask.sum(1, keepdim=True).clamp(min=1)  # (B, n)
            x = (x * weight.view(len(mask), *(1,) * (at - 1), -1, *(1,) * (x.ndim - at - 1))).sum(at)
        else:
            x = x.mean(at)
    return x
