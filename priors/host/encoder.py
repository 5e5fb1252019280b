"""Which encoder a manifest asks for: a closed set, chosen by `host.encoder`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from priors.errors import BadManifest
from priors.manifest import PriorManifest

if TYPE_CHECKING:
    from numpy.typing import NDArray
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

    def arrays(self, values: Sequence[Any]) -> tuple[NDArray[Any], ...]:
        """The same as numpy arrays, for whoever has no torch."""


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
    encoder = _class(host.get("encoder"))
    if encoder is None:
        raise BadManifest(
            f"prior {manifest.name!r}: host encoder {host.get('encoder')!r} is unknown. "
            f"Use one of {', '.join(ENCODERS)}."
        )
    made: HostEncoder = encoder.from_host(host, Path(directory))
    return made


def encoder_of(spec: Mapping[str, Any], directory: Path | str) -> HostEncoder:
    """The encoder whose `spec` this is, with its file in `directory`. Needs no torch.

    Raises BadManifest unless it does just what the spec says, the content of its file included.
    """
    found = _class(spec.get("encoder"))
    encoder: HostEncoder | None = found and found.from_host(
        {k: v for k, v in spec.items() if k in found.schema.model_fields}, Path(directory)
    )
    if encoder is None or encoder.spec != dict(spec):
        raise BadManifest(
            f"host encoder {spec.get('encoder')!r} works otherwise here than it is described. Export again."
        )
    return encoder


def _class(name: Any) -> Any:
    # Imported here: a text prior needs no soundfile, an image prior no tokenizers.
    match name:
        case "tokenizer":
            from priors.host.text import TextEncoder

            return TextEncoder
        case "image":
            from priors.host.image import ImageEncoder

            return ImageEncoder
        case "mel":
            from priors.host.audio import MelEncoder

            return MelEncoder
        case "wave":
            from priors.host.audio import WaveEncoder

            return WaveEncoder
        case "whisper":
            from priors.host.whisper import WhisperEncoder

            return WhisperEncoder
        case "table":
            from priors.host.table import TableEncoder

            return TableEncoder
    return None
