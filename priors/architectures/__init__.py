"""The closed set of network families: each module registers one family under an architecture id.

A manifest names an id and a JSON config; nothing of a prior's own code is ever run. To add a family, write one module
with a class under `@architecture("<id>")` (or a row in `transformers_text.FAMILIES`) and import it here.
"""

from priors.architectures import (
    crepe,
    directions,
    efficientnet_lite,
    exported,
    lexicon,
    lstm_speaker,
    mlp,
    onnx_file,
    silero_vad,
    tables,
    timm_model,
    transformers_audio,
    transformers_text,
    transformers_vision,
)

__all__ = [
    "crepe",
    "directions",
    "efficientnet_lite",
    "exported",
    "lexicon",
    "lstm_speaker",
    "mlp",
    "onnx_file",
    "silero_vad",
    "tables",
    "timm_model",
    "transformers_audio",
    "transformers_text",
    "transformers_vision",
]
