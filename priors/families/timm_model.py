"""Models of the timm library by their name there, without torch: what the library must be told, and what comes out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from priors.families.text import Width
from priors.families.vision import Side, VisionConfig

MODEL = r"^[a-z][a-z0-9_]{0,99}$"


class TimmConfig(VisionConfig):
    """`model` of timm, with `classes` outputs or none; `features` numbers before them.

    maps  channels and side of each map that is a tap, `stage_1` first: all that timm counts, or none of them
    """

    model: Annotated[str, Field(pattern=MODEL)]
    image_size: Side = 224
    features: Width
    classes: Annotated[int, Field(ge=0, le=100_000)] = 0
    maps: list[Annotated[list[Annotated[int, Field(ge=1, le=65_536)]], Field(min_length=2, max_length=2)]] = Field(
        default_factory=list, max_length=200
    )

    def taps(self) -> dict[str, str]:
        found = {
            f"stage_{i}": f"image.map[B,D:{channels},H:{side},W:{side}]:f32"
            for i, (channels, side) in enumerate(self.maps, 1)
        }
        found["features"] = f"vec.feat[B,D:{self.features}]:f32"
        return found | ({"logits": f"dist.logits[B,K:{self.classes}]:f32"} if self.classes else {})
