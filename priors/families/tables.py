"""Families for tables without torch: the configs of multi-layer perceptrons."""

from typing import Annotated, Literal

from pydantic import Field

from priors.families._config import ArchitectureConfig

Width = Annotated[int, Field(ge=1, le=65_536)]


class MlpConfig(ArchitectureConfig):
    """`columns` numbers in, hidden layers of `widths`, `outputs` numbers out."""

    columns: Width
    widths: list[Width] = Field(min_length=1, max_length=64)
    outputs: Width
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
