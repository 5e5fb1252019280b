"""Tiny checkpoints for merging: two layers, an embedding and a head, written with the real library."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

SHAPES = {
    "model.embed_tokens.weight": (7, 6),
    "model.layers.0.mlp.weight": (5, 6),
    "model.layers.0.norm.weight": (6,),
    "model.layers.1.mlp.weight": (5, 6),
    "model.layers.1.norm.weight": (6,),
    "model.layers.2.mlp.weight": (5, 6),
    "model.layers.2.norm.weight": (6,),
    "model.norm.weight": (6,),
}
CONFIG = {"model_type": "tiny", "num_hidden_layers": 3, "torch_dtype": "float32", "vocab_size": 7}


def random_tensors(seed, shapes=None, near=None, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    found = {name: torch.randn(shape, generator=generator) * spread for name, shape in (shapes or SHAPES).items()}
    return found if near is None else {name: near[name] + value for name, value in found.items()}


def checkpoint(folder: Path, tensors, dtype=torch.float32, config=CONFIG) -> str:
    folder.mkdir(parents=True)
    save_file({name: value.to(dtype).contiguous() for name, value in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def written(folder: Path):
    found = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        found |= load_file(path)
    return found
