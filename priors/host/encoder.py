"""Which encoder a manifest asks for: a closed set, chosen by `host.encoder`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from priors.errors import BadManifest
from priors.manifest import PriorManifest

if TYPE_CHECKING:
    from torch import Tensor

ENCODERS = ("tokenizer", "image", "mel", "wave", "whisper", "table")


class HostEncoder(Protocol):
    """Turns raw values into the tensors a network reads."""

    @property
    def spec(self) -> dict[str, Any]:
        """JSON that determines the encoding completely: two encoders of one spec give the same tensors."""

    def encode(self, values: Sequence[Any]) -> tuple[Tensor, ...]:
        """Tensors in the order of the network's inputs, a mask right after the port it belongs to; rows in order.

        Lengths are padded to the longest value of the call, at the end. Raises BadText, BadImage, BadAudio or BadTable
        naming the value that cannot be read.
        """


def encoder_for(manifest: PriorManifest, directory: Path | str) -> HostEncoder:
    """The encoder that `manifest.host` describes; its file, if it has one, lies in `directory`.

    Raises BadManifest when the manifest has no host part, names an unknown encoder, or a key of it is wrong.
    """
    host = manifest.host
    if host is None:
        raise BadManifest(
            f"prior {manifest.name!r} has no host encoder: it reads raw values, or tensors, itself. "
            "Call its function, or add 'host' to prior.json."
        )
    # Imported here: a text prior needs no soundfile, an image prior no tokenizers.
    match host.get("encoder"):
        case "tokenizer":
            from priors.host.text import TextEncoder

            return TextEncoder.from_host(host, Path(directory))
        case "image":
            from priors.host.image import ImageEncoder

            return ImageEncoder.from_host(host)
        case "mel":
            from priors.host.audio import MelEncoder

            return MelEncoder.from_host(host)
        case "wave":
            from priors.host.audio import WaveEncoder

            return WaveEncoder.from_host(host)
        case "whisper":
            from priors.host.whisper import WhisperEncoder

            return WhisperEncoder.from_host(host)
        case "table":
            from priors.host.table import TableEncoder

            return TableEncoder.from_host(host)
        case unknown:
            raise BadManifest(
                f"prior {manifest.name!r}: host encoder {unknown!r} is unknown. Use one of {', '.join(ENCODERS)}."
            )
