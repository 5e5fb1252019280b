"""Networks that are an ONNX file: run by onnxruntime, an optional package, on the CPU and without gradients.

The file is walked by our own check before the library sees it (`priors.onnx_graph`): one file, standard operators.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from priors.architectures._network import Network
from priors.errors import BadManifest, BadWeights
from priors.families.onnx_file import OnnxConfig
from priors.onnx_graph import check_graph
from priors.registry import architecture
from priors.types import parse
from priors.weights import found_sha256

MAX_BYTES = 2 << 30
"""What a protobuf can hold at all."""


@architecture("onnx")
class Onnx(Network[OnnxConfig]):
    """Ports are inputs of the file, taps its outputs; what lies between is its own."""

    def inputs(self) -> dict[str, str]:
        return {name: str(parse(port.type)) for name, port in self.config.inputs.items()}

    def taps(self) -> dict[str, str]:
        return {name: str(parse(port.type)) for name, port in self.config.outputs.items()}

    def open(self, path: Path, sha256: str, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(*inputs) -> tuple of the taps`.

        Raises BadWeights for a file that is not the promised one, is refused, or has other inputs and outputs;
        BadManifest where onnxruntime is not installed.
        """
        return _OnnxModule(_session(path, sha256), self.config, self.wanted(taps), path.name)

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        self.wanted(taps)
        raise BadManifest("an ONNX network has no layers of ours to build or train. Use it frozen, from its file.")


def _session(path: Path, sha256: str) -> Any:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise BadWeights(f"{path.name} has {size:,} bytes, the limit is {MAX_BYTES:,}. Export a smaller model.")
    if found_sha256(path) != sha256:
        raise BadWeights(f"{path.name} is not the file its manifest promises: it was changed. Fetch it again.")
    with path.open("rb") as file:
        check_graph(path.name, file, size)
    try:
        import onnxruntime  # imported here: an extra, which only these networks need
    except ImportError as err:
        raise BadManifest(
            "running an ONNX network needs onnxruntime, which is not installed. Run `pip install priorhub[onnx]`."
        ) from err
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as err:  # the library raises many kinds for models it cannot run
        raise BadWeights(f"{path.name} cannot be run ({str(err)[:200]}). Export the model again.") from err


class _OnnxModule(nn.Module):
    def __init__(self, session: Any, config: OnnxConfig, taps: tuple[str, ...], name: str) -> None:
        super().__init__()
        self._session, self._name = session, name
        self._takes: list[str | None] = []  # the file's name for each argument; None for a mask it does not read
        for port in config.inputs.values():
            self._takes += [port.onnx, port.mask] if parse(port.type).attr("mask") else [port.onnx]
        self._gives = [config.outputs[tap].onnx for tap in taps]
        self._types = [parse(config.outputs[tap].type) for tap in taps]
        for what, wanted, there in (
            ("input", {one for one in self._takes if one}, {one.name for one in session.get_inputs()}),
            ("output", set(self._gives), {one.name for one in session.get_outputs()}),
        ):
            missing = wanted - there or (there - wanted if what == "input" else set())
            if missing:
                raise BadWeights(
                    f"{name}: {what} {min(missing)!r} is not both in the file ({', '.join(sorted(there))}) and in the "
                    "manifest. Name each in architecture.config."
                )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        feed = {
            name: (value.long() if value.dtype == torch.bool else value).detach().cpu().numpy()
            for name, value in zip(self._takes, inputs, strict=True)
            if name is not None
        }
        found = []
        for t, out in zip(self._types, self._session.run(self._gives, feed), strict=True):
            dims = [axis.dim for axis in t.axes]
            if len(dims) != out.ndim or any(
                isinstance(d, int) and d != n for d, n in zip(dims, out.shape, strict=True)
            ):
                raise BadWeights(f"{self._name} gave {out.shape} where its manifest says {t}. Correct the manifest.")
            found.append(torch.from_numpy(out).to(inputs[0].device))
        return tuple(found)
