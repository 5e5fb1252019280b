"""What a family's config may say and which ports follow from it, without torch: `priors.architectures` builds them.

config_class("gpt2").model_json_schema()        the keys of its config, with types and bounds
"""

from importlib import import_module
from typing import TypeVar

from priors.errors import UnknownArchitecture
from priors.families._config import ArchitectureConfig

C = TypeVar("C", bound=ArchitectureConfig)

_HOMES = {
    "bert": ("text", "BertConfig"),
    "deberta-v2": ("text", "DebertaV2Config"),
    "distilbert": ("text", "DistilBertConfig"),
    "gpt2": ("text_causal", "Gpt2Config"),
    "llama": ("text_causal", "LlamaConfig"),
    "modernbert": ("text", "ModernBertConfig"),
    "mpnet": ("text", "MpnetConfig"),
    "qwen2": ("text_causal", "Qwen2Config"),
    "roberta": ("text", "RobertaConfig"),
    "t5-encoder": ("text_causal", "T5Config"),
    "xlm-roberta": ("text", "XlmRobertaConfig"),
    "clip-text": ("text_towers", "ClipTextConfig"),
    "siglip-text": ("text_towers", "SiglipTextConfig"),
    "vit": ("vision", "VitConfig"),
    "dinov2": ("vision", "Dinov2Config"),
    "clip-image": ("vision", "ClipImageConfig"),
    "siglip-image": ("vision", "SiglipImageConfig"),
    "resnet": ("vision_maps", "ResnetConfig"),
    "convnext": ("vision_maps", "ConvnextConfig"),
    "swin": ("vision_maps", "SwinConfig"),
    "mobilenet-v2": ("vision_maps", "MobilenetV2Config"),
    "timm": ("timm_model", "TimmConfig"),
    "wav2vec2": ("audio", "Wav2Vec2Config"),
    "hubert": ("audio", "HubertConfig"),
    "whisper-encoder": ("audio", "WhisperConfig"),
    "exported": ("exported", "ExportedConfig"),
    "onnx": ("onnx_file", "OnnxConfig"),
    "crepe": ("audio", "CrepeConfig"),
    "silero-vad": ("audio", "SileroConfig"),
    "bert-directions": ("small", "DirectionsConfig"),
    "efficientnet-lite": ("small", "EfficientNetLiteConfig"),
    "lexicon": ("small", "LexiconConfig"),
    "lstm-speaker": ("small", "LstmSpeakerConfig"),
    "ft-transformer": ("tables", "FtTransformerConfig"),
    "resmlp": ("tables", "ResmlpConfig"),
    "mlp": ("tables", "MlpConfig"),
}
"""Architecture id -> where its config is. Imported on the first look, so that listing ids costs nothing."""

FAMILY_IDS = tuple(_HOMES)


def config_class(architecture: str, kind: type[C]) -> type[C]:
    """The schema of an architecture's config, a `kind`. Raises UnknownArchitecture."""
    if architecture not in _HOMES:
        raise UnknownArchitecture(f"no architecture is called {architecture!r}. Known: {', '.join(sorted(_HOMES))}.")
    home, name = _HOMES[architecture]
    found: type[C] = getattr(import_module(f"priors.families.{home}"), name)
    if not issubclass(found, kind):
        raise TypeError(f"{name} is no {kind.__name__}")
    return found
