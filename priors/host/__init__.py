"""Raw values to tensors: what runs before the model, on the host, and is described by numbers alone.

`encoder_for(manifest, directory)` gives the encoder that a network prior's `host` names; `spec` of an encoder is JSON
that determines its work completely, so that another program can do the same. Readers: `read_image`, `read_audio`.

Names are imported on first use: each modality needs its own library (tokenizers, Pillow, soundfile), and none is needed
to check a graph.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from priors.host.audio import MelEncoder as MelEncoder
    from priors.host.audio import WaveEncoder as WaveEncoder
    from priors.host.audio import read_audio as read_audio
    from priors.host.encoder import HostEncoder as HostEncoder
    from priors.host.encoder import encoder_for as encoder_for
    from priors.host.image import ImageEncoder as ImageEncoder
    from priors.host.image import read_image as read_image
    from priors.host.table import TableEncoder as TableEncoder
    from priors.host.text import TextEncoder as TextEncoder

_HOMES = {
    "HostEncoder": "priors.host.encoder",
    "ImageEncoder": "priors.host.image",
    "MelEncoder": "priors.host.audio",
    "TableEncoder": "priors.host.table",
    "TextEncoder": "priors.host.text",
    "WaveEncoder": "priors.host.audio",
    "encoder_for": "priors.host.encoder",
    "read_audio": "priors.host.audio",
    "read_image": "priors.host.image",
}

__all__ = [
    "HostEncoder",
    "ImageEncoder",
    "MelEncoder",
    "TableEncoder",
    "TextEncoder",
    "WaveEncoder",
    "encoder_for",
    "read_audio",
    "read_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'priors.host' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
