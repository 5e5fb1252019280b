"""SetFit on one draw, as its documentation trains it. Runs in an environment of its own, without this project:

    python _peer_setfit.py MODEL_FOLDER RESULT.json < draw.json

draw.json: {"train": [text, ...], "labels": [int, ...], "test": [text, ...], "seed": int}; the result has the
CPU seconds of training and the predicted labels.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    draw = json.load(sys.stdin)
    import torch
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    model = SetFitModel.from_pretrained(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch, seed=draw["seed"], report_to="none", save_strategy="no", show_progress_bar=False
        )
        rows = Dataset.from_dict({"text": draw["train"], "label": draw["labels"]})
        trainer = Trainer(model=model, args=arguments, train_dataset=rows)
        started = time.process_time()
        trainer.train()
        seconds = time.process_time() - started
    predicted = [int(label) for label in model.predict(draw["test"])]
    Path(sys.argv[2]).write_text(json.dumps({"setfit": {"seconds": seconds, "predicted": predicted}}))


if __name__ == "__main__":
    main()
