"""Families of one network each, without torch: the configs of lexicon, directions, EfficientNet-Lite, GE2E."""

from typing import Annotated, Literal

from pydantic import Field

from priors._lite_plan import HEAD, Block, plan
from priors.families._config import ArchitectureConfig
from priors.families.text import BertConfig

Size = Annotated[int, Field(ge=1, le=8_192)]


class DirectionsConfig(BertConfig):
    """An encoder's config, and the layers a direction was found in."""

    layers: Annotated[list[Annotated[int, Field(ge=0, le=128)]], Field(min_length=1, max_length=64)]

    def taps(self) -> dict[str, str]:
        return {"along": f"vec.feat[B,D:{len(self.layers)}]:f32"}

    def averages(self) -> dict[str, list[str]]:
        return {}


LEXICON_FEATURES = 6


class LexiconConfig(ArchitectureConfig):
    """`vocab_size` words of vocabulary `vocab`, rated up to `largest` in size.

    A word within `window` words after a negation counts `negation` times its rating.
    """

    vocab: str
    vocab_size: Annotated[int, Field(ge=1, le=1_000_000)]
    largest: Annotated[float, Field(gt=0)] = 4.0
    window: Annotated[int, Field(ge=1, le=16)] = 3
    negation: Annotated[float, Field(ge=-1, le=1)] = -0.74

    def inputs(self) -> dict[str, str]:
        return {"ids": f"text.ids[B,T]:i64{{mask=ids_mask,vocab={self.vocab}}}"}

    def taps(self) -> dict[str, str]:
        return {"ratings": f"vec.feat[B,D:{LEXICON_FEATURES}]:f32"}


class EfficientNetLiteConfig(ArchitectureConfig):
    """Lite0 is width 1.0, depth 1.0 at 224 pixels; Lite1 1.0, 1.1, 240; Lite2 1.1, 1.2, 260; Lite3 1.2, 1.4, 300; Lite4
    1.4, 1.8, 380.
    """

    width: Annotated[float, Field(gt=0, le=8)] = 1.0
    depth: Annotated[float, Field(gt=0, le=8)] = 1.0
    image_size: Annotated[int, Field(ge=32, le=2_048)] = 224
    classes: Annotated[int, Field(ge=1, le=100_000)] = 1000
    norm: Literal["mean127-std128", "mean127h-std127h"] = "mean127-std128"
    """How pixels were scaled in training: (value - 127) / 128, or (value - 127.5) / 127.5."""

    def blocks(self) -> list[Block]:
        return plan(self.width, self.depth, self.image_size)

    def inputs(self) -> dict[str, str]:
        side = self.image_size
        return {"pixels": f"image.pixels[B,C:3,H:{side},W:{side}]:f32{{norm={self.norm}}}"}

    def taps(self) -> dict[str, str]:
        """Maps call their channels D: they are what stays when H and W are pooled away."""
        ends = {block.stage: block for block in self.blocks()}  # the last block of a stage
        maps = {
            f"stage_{stage}": f"image.map[B,D:{block.channels},H:{block.size_out},W:{block.size_out}]:f32"
            for stage, block in ends.items()
        }
        return {**maps, "features": f"vec.feat[B,D:{HEAD}]:f32", "logits": f"dist.logits[B,K:{self.classes}]:f32"}


class LstmSpeakerConfig(ArchitectureConfig):
    """Sizes of the network, and the windows its training used: `window` frames, a new one every `step` frames.

    77 frames are 1.3 windows a second at 10 ms a frame, the rate the published weights are used with. The last window
    counts when at least `min_coverage` of it is sound.
    """

    mels: Size = 40
    hidden: Size = 256
    layers: Annotated[int, Field(ge=1, le=16)] = 3
    embedding: Size = 256
    rate: Annotated[int, Field(ge=1, le=1_000_000)] = 16_000
    window: Annotated[int, Field(ge=1, le=4_096)] = 160
    step: Annotated[int, Field(ge=1, le=4_096)] = 77
    min_coverage: Annotated[float, Field(gt=0, le=1)] = 0.75

    def inputs(self) -> dict[str, str]:
        return {"mel": f"audio.mel[B,T,F:{self.mels}]:f32{{mask=mel_mask,sr={self.rate}}}"}

    def taps(self) -> dict[str, str]:
        return {"embedding": f"vec.feat[B,D:{self.embedding}]:f32"}
