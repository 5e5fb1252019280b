"""Networks that are an ONNX file, without torch: which of its inputs and outputs are which port."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from priors.errors import BadType
from priors.families._config import ArchitectureConfig
from priors.types import parse

_Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Port = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class OnnxPort(ArchitectureConfig):
    """`onnx` is the file's name for it; `mask` that of the input which takes the port's mask, as 64-bit integers."""

    onnx: _Name
    type: Annotated[str, Field(max_length=500)]
    mask: _Name | None = None


class OnnxConfig(ArchitectureConfig):
    """`file` in the prior's folder; `inputs` in the order the network is called with; `outputs` are its taps."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,90}\.onnx$")]
    inputs: Annotated[dict[_Port, OnnxPort], Field(min_length=1, max_length=8)]
    outputs: Annotated[dict[_Port, OnnxPort], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _types_parse(self) -> OnnxConfig:
        for name, port in {**self.inputs, **self.outputs}.items():
            try:
                read = parse(port.type)
            except BadType as err:
                raise ValueError(f"{name}: {err}") from err
            if port.mask is not None and not read.attr("mask"):
                raise ValueError(f"{name} names a mask input, and its type has no mask")
        return self
