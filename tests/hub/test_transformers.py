"""transformers, unchanged, against a running hub: what it pushes it loads again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live import LiveHub

pytestmark = pytest.mark.slow

SCRIPT = """
import torch
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

torch.manual_seed(0)
config = BertConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
model = BertModel(config).eval()
model.push_to_hub("ann/tiny-bert")

again = AutoModel.from_pretrained("ann/tiny-bert").eval()
assert type(again) is BertModel, type(again)
assert AutoConfig.from_pretrained("ann/tiny-bert").hidden_size == 16
ids = torch.arange(8).reshape(1, 8)
with torch.no_grad():
    assert torch.equal(model(ids).last_hidden_state, again(ids).last_hidden_state)

with torch.no_grad():
    again.embeddings.word_embeddings.weight.add_(1.0)
again.push_to_hub("ann/tiny-bert", commit_message="moved by one")
moved = AutoModel.from_pretrained("ann/tiny-bert")
assert torch.equal(moved.embeddings.word_embeddings.weight, again.embeddings.word_embeddings.weight)
print("round trip")
"""


def test_a_model_that_was_pushed_is_loaded_with_the_same_weights(live_hub: LiveHub, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    told = {"HF_ENDPOINT": live_hub.url, "HF_HOME": str(tmp_path), "HF_TOKEN": live_hub.token("ann")}

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**kept, **told, "PYTHONWARNINGS": "ignore"}, cwd=tmp_path,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip

    assert done.stdout.endswith("round trip\n"), done.stderr[-3000:]
