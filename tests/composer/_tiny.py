"""A library of real but tiny networks: a text encoder of three layers with a word tokenizer, and a table's MLP."""

import hashlib
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from composer.check import check
from composer.graph import Graph
from composer.lock import Lock
from composer.lower import Lowered, lower
from priors.library import LocalLibrary, resolver
from priors.registry import find_architecture
from priors.weights import save_weights

WORDS = ["[PAD]", "[UNK]", "a", "the", "cat", "dog", "sat", "ran", "on", "mat", "under", "red", "big", "very", "not"]
BERT = {
    "vocab": "words",
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
MLP = {"columns": 3, "widths": [8, 4], "outputs": 2}
TOKENIZER = {"encoder": "tokenizer", "file": "tokenizer.json", "max_tokens": 32, "pad_id": 0}


def tiny_library(root: Path) -> LocalLibrary:
    """Writes `tiny/words` and `tiny/mlp` under root; their weights come from a fixed seed."""
    tokenizer = word_tokenizer()
    write_prior(root / "tiny" / "words", "bert", BERT, taps=("layer_3",), host=TOKENIZER, tokenizer=tokenizer)
    write_prior(root / "tiny" / "mlp", "mlp", MLP, taps=("output",))
    return LocalLibrary(root)


def word_tokenizer(words: list[str] = WORDS) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def lowered(library: LocalLibrary, document: str) -> Lowered:
    """A composition in YAML, checked, locked and lowered; its lock has gone through JSON."""
    checked = check(Graph.from_yaml(document), resolver(library))
    return lower(Lock.from_json(Lock.of(checked).to_json()), library)


def fill(model: Lowered, seed: int = 1) -> None:
    """Something else than the starting values in everything that is learned."""
    generator = torch.Generator().manual_seed(seed)
    state = model.learned_state()
    model.load_learned({name: torch.rand(value.shape, generator=generator) + 0.5 for name, value in state.items()})


def write_prior(
    folder: Path,
    architecture: str,
    config: dict,
    *,
    taps: tuple[str, ...],
    host=None,
    tokenizer=None,
    scale=3.0,
    license="MIT",
    seed=0,
) -> None:
    folder.mkdir(parents=True)
    family = find_architecture(architecture)(config)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = family.build(taps).state_dict()
    # Larger than a network's usual start, so that a layer that is left out changes the output visibly.
    save_weights({name: value * scale for name, value in state.items()}, folder / "model.safetensors")
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
    files = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    manifest = {
        "prior": 1, "name": folder.name, "version": "1.0.0", "summary": "A tiny network.", "kind": "network",
        "architecture": {"id": architecture, "config": config}, "inputs": family.inputs(), "taps": family.taps(),
        "averages": family.averages(), "default_tap": taps[-1], "host": host, "files": files,
        "license": {"spdx": license},
    }  # fmt: skip
    (folder / "prior.json").write_text(json.dumps(manifest))
