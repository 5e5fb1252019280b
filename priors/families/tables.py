"""Families for tables without torch: perceptrons, residual ones, and a transformer over columns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from priors.families._config import ArchitectureConfig

Width = Annotated[int, Field(ge=1, le=65_536)]


class MlpConfig(ArchitectureConfig):
    """`columns` numbers in, hidden layers of `widths`, `outputs` numbers out."""

    columns: Width
    widths: list[Width] = Field(min_length=1, max_length=64)
    outputs: Width
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"

    def inputs(self) -> dict[str, str]:
        return {"x": f"tab.num[B,C:{self.columns}]:f32"}

    def taps(self) -> dict[str, str]:
        return {
            "penultimate": f"vec.feat[B,D:{self.widths[-1]}]:f32",
            "output": f"vec.feat[B,D:{self.outputs}]:f32",
        }


class _Row(ArchitectureConfig):
    """`columns` numbers in, `outputs` numbers out; a network whose last hidden state has `width` numbers."""

    columns: Width
    outputs: Width
    blocks: Annotated[int, Field(ge=1, le=128)] = 3

    @property
    def last(self) -> int:
        raise NotImplementedError

    def inputs(self) -> dict[str, str]:
        return {"x": f"tab.num[B,C:{self.columns}]:f32"}

    def taps(self) -> dict[str, str]:
        """`block_<i>` after block i, `penultimate` after the last normalization, `output`."""
        hidden = [*(f"block_{i}" for i in range(self.blocks + 1)), "penultimate"]
        return {
            **dict.fromkeys(hidden, f"vec.feat[B,D:{self.last}]:f32"),
            "output": f"vec.feat[B,D:{self.outputs}]:f32",
        }


class ResmlpConfig(_Row):
    """Residual perceptron: blocks that add what two layers make of their normalized input.

    Gorishniy et al. 2021, arXiv:2106.11959, section 3.2 (ResNet), with layer normalization so that no row's result
    depends on its batch.
    """

    width: Width = 128
    inner: Width = 256
    activation: Literal["relu", "gelu", "silu"] = "relu"

    @property
    def last(self) -> int:
        return self.width


class FtTransformerConfig(_Row):
    """FT-Transformer: a token a column, attention among them, and a token that stands for the row.

    Gorishniy et al. 2021, arXiv:2106.11959, section 3.3. Columns are numbers; categories arrive as the table encoder's
    zeros and ones. `columns` is at most 4,096: attention costs its square.
    """

    columns: Annotated[int, Field(ge=1, le=4_096)]
    width: Annotated[int, Field(ge=1, le=4_096)] = 64
    heads: Annotated[int, Field(ge=1, le=64)] = 8
    inner: Width = 128

    @property
    def last(self) -> int:
        return self.width

    @model_validator(mode="after")
    def _heads_fit(self) -> FtTransformerConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads. Give a multiple")
        return self
