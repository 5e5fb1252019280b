"""LoRA by peft and a plain loop on one draw, the same loss, layers, rank and steps as composer.contrast's:

python _peer_peft.py MODEL_FOLDER RESULT.json < draw.json
"""

import json
import os
import sys
import time
from pathlib import Path

STEPS, RATE, RANK, WARM_UP, TEMPERATURE = 16, 2e-3, 8, 3, 0.1


def main() -> None:
    draw = json.load(sys.stdin)
    import torch
    from peft import LoraConfig, get_peft_model
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(draw["seed"])
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    config = LoraConfig(
        r=RANK,
        lora_alpha=2 * RANK,
        target_modules=["query", "key", "value", "dense"],
        layers_to_transform=[3, 4, 5],
        layers_pattern="layer",
    )
    model = get_peft_model(AutoModel.from_pretrained(sys.argv[1]), config)

    def embed(texts: list[str]) -> torch.Tensor:
        batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        state = model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None].to(state.dtype)
        return torch.nn.functional.normalize((state * mask).sum(1) / mask.sum(1), dim=-1)

    labels = torch.tensor(draw["labels"])
    itself = torch.eye(len(labels), dtype=torch.bool)
    same = ((labels[:, None] == labels[None]) & ~itself).float()
    started = time.process_time()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, fused=True)
    model.eval()  # without dropout, as ours is
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARM_UP) * (1 - step / STEPS)
        z = embed(draw["train"])
        log_p = (z @ z.T / TEMPERATURE).masked_fill(itself, -1e9).log_softmax(1)
        loss = -((log_p * same).sum(1) / same.sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seconds = time.process_time() - started
    with torch.no_grad():
        known = embed(draw["train"]).numpy()
        asked = torch.cat([embed(draw["test"][i : i + 32]) for i in range(0, len(draw["test"]), 32)]).numpy()
    predicted = LogisticRegression(C=10, max_iter=1000).fit(known, draw["labels"]).predict(asked)
    Path(sys.argv[2]).write_text(json.dumps({"peft": {"seconds": seconds, "predicted": [int(i) for i in predicted]}}))


if __name__ == "__main__":
    main()
