"""Our merges against mergekit's: CPU seconds net of start-up, anonymous memory, start-up, and equal results.

    python -m venv PEER && PEER/bin/pip install torch==2.13.0 mergekit==0.1.5
    python -m benchmarks merge --peer PEER [--mb 750] [--rounds 3] [--methods linear slerp ties]

Both read the same mergekit recipe and run turn by turn, one thread each. Net of start-up: each program's own time for a
model of 1 MB is taken off. Anonymous memory is the most RssAnon that /proc had of it, asked every 10 ms.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from composer.merge.source import Checkpoint
from composer.merge.writer import header_of
from kernels.merge import Raw, values

RECIPES: Mapping[str, str] = {
    "linear": "merge_method: linear\nmodels: [{model: A, parameters: {weight: 0.3}}, "
    "{model: B, parameters: {weight: 0.7}}]",
    "slerp": "merge_method: slerp\nbase_model: A\nmodels: [{model: A}, {model: B}]\nparameters: {t: 0.4}",
    "ties": "merge_method: ties\nbase_model: BASE\nmodels: [{model: A, parameters: {weight: 0.5, density: 0.5}}, "
    "{model: B, parameters: {weight: 0.5, density: 0.5}}]",
}  # fmt: skip
WANTED = {"linear": 1 / 3, "slerp": 1 / 3, "ties": 1 / 8}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks merge", description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, help="the virtual environment that has mergekit; ours alone without")
    parser.add_argument("--mb", type=int, nargs="+", default=[750], help="size of each checkpoint")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=RECIPES, default=list(RECIPES))
    options = parser.parse_args(arguments)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; median of {options.rounds} rounds, turn by turn")
    with tempfile.TemporaryDirectory(prefix="merge-") as scratch:
        for mb in options.mb:
            _compare(Path(scratch), mb, options)


def _compare(scratch: Path, mb: int, options: argparse.Namespace) -> None:
    programs = {"ours": [sys.executable, "-m", "composer.cli", "merge"]}
    if options.peer:
        programs["mergekit"] = [str(options.peer / "bin" / "mergekit-yaml")]
    small, large = _models(scratch / "small", 1), _models(scratch / str(mb), mb)
    for method in options.methods:
        taken: dict[str, list[tuple[float, float, float, float]]] = {who: [] for who in programs}
        for _ in range(options.rounds):
            for who, program in programs.items():
                start = _run(who, program, method, small)
                whole = _run(who, program, method, large)
                taken[who].append((whole[0] - start[0], whole[1], start[1], start[2]))
        middle = {who: [statistics.median(column) for column in zip(*rows, strict=True)] for who, rows in taken.items()}
        for who, (cpu, memory, idle, wall) in middle.items():
            rows = taken[who]
            spread = f"({min(r[0] for r in rows):.2f}-{max(r[0] for r in rows):.2f})"
            print(
                f"  {mb:>5} MB {method:<7}{who:<9} CPU {cpu:6.2f} s {spread:<15} anonymous {memory:7.1f} MB "
                f"({idle:.1f} of them for 1 MB)  whole run on 1 MB {wall:.2f} s"
            )
        if "mergekit" in middle:
            ratio = middle["ours"][0] / middle["mergekit"][0]
            memory = middle["ours"][1] / middle["mergekit"][1]
            reached = "reached" if ratio <= WANTED[method] else "missed"
            print(f"    CPU {ratio:.3f} of mergekit's, wanted {WANTED[method]:.3f}: {reached}")
            print(f"    memory {memory:.3f} of mergekit's, wanted 0.333")
            print(f"    {_difference(large, method)}")
    shutil.rmtree(scratch / str(mb))


def _run(who: str, program: list[str], method: str, root: Path) -> tuple[float, float, float]:
    """(CPU seconds, most anonymous MB, wall seconds) of one merge."""
    out = root / f"{who}-{method}"
    shutil.rmtree(out, ignore_errors=True)
    recipe = root / f"{method}.yaml"
    text = RECIPES[method]
    for name in ("BASE", "A", "B"):
        text = text.replace(f" {name}", f" {root / name}")
    recipe.write_text(text)
    place = [str(recipe), "--out", str(out)] if who == "ours" else [str(recipe), str(out), "--allow-crimes"]
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with subprocess.Popen(
        [*program, *place], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        most = 0
        while child.poll() is None:
            most = max(most, _anonymous(child.pid))
            time.sleep(0.01)
        assert child.returncode == 0, child.stderr.read().decode()[-2000:] if child.stderr else ""
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, most / 1024, time.monotonic() - begin


def _anonymous(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def _difference(root: Path, method: str) -> str:
    """How many values differ, by how many steps of bf16, and for TIES how many of them a tie explains."""
    ours, theirs = (Checkpoint(root / f"{who}-{method}") for who in ("ours", "mergekit"))
    inputs = {name: Checkpoint(root / name) for name in ("BASE", "A", "B")}
    differ = total = tied = 0
    steps = 0
    for name, info in ours.tensors.items():
        one, other = (_whole(source, name) for source in (ours, theirs))
        odd = np.flatnonzero(one != other)
        differ, total = differ + odd.size, total + info.size
        if odd.size == 0:
            continue
        if method == "ties":
            tied += _ties(inputs, name, odd)
        else:
            steps = max(steps, int(np.abs(one[odd].astype(np.int32) - other[odd].astype(np.int32)).max()))
    explained = (
        f"{tied:,} of them equal in magnitude to a threshold" if method == "ties" else f"by {steps} step(s) of bf16"
    )
    return f"{differ:,} of {total:,} values differ" + (f", {explained}" if differ else "")


def _ties(inputs: Mapping[str, Checkpoint], name: str, odd: "np.ndarray") -> int:
    base = values(Raw(_whole(inputs["BASE"], name), "BF16"))
    found = np.zeros(odd.size, bool)
    for model in ("A", "B"):
        delta = values(Raw(_whole(inputs[model], name), "BF16")) - base
        delta = np.abs((np.round(delta.view(np.uint32) / 65536).astype(np.uint32) << 16).view(np.float32))
        size = delta.size
        threshold = np.partition(delta, size - max(1, size // 2))[size - max(1, size // 2)]
        found |= delta[odd] == threshold
    return int(found.sum())


def _whole(source: Checkpoint, name: str) -> "np.ndarray":
    found = np.empty(source.tensors[name].size, np.uint16)
    source.read(name, 0, memoryview(found).cast("B"))
    return found


def _models(root: Path, mb: int) -> Path:
    """BASE, and A and B near it: a Llama of about `mb` megabytes of bf16 each; made once."""
    if root.exists():
        return root
    from composer.merge.source import Info

    width, words = (1024, 32_000) if mb >= 100 else (64, 512)
    inner = width * 11 // 4
    layer = {
        **{f"self_attn.{part}_proj.weight": (width, width) for part in "qkvo"},
        **{f"mlp.{part}_proj.weight": (inner, width) for part in ("gate", "up")},
        "mlp.down_proj.weight": (width, inner),
        "input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,),
    }  # fmt: skip
    size = sum(2 * int(np.prod(shape)) for shape in layer.values())
    layers = max(2, int((mb * 1e6 - 4 * words * width) // size))
    shapes = {
        "model.embed_tokens.weight": (words, width),
        "lm_head.weight": (words, width),
        "model.norm.weight": (width,),
    }
    shapes |= {f"model.layers.{i}.{rest}": shape for i in range(layers) for rest, shape in layer.items()}
    infos = {name: Info("BF16", shape) for name, shape in shapes.items()}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": width // 64, "num_key_value_heads": width // 64,
        "vocab_size": words, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    }  # fmt: skip
    for seed, model in enumerate(("BASE", "A", "B")):
        (root / model).mkdir(parents=True)
        (root / model / "config.json").write_text(json.dumps(config))
        shared, own = np.random.default_rng(0), np.random.default_rng(seed)
        with (root / model / "model.safetensors").open("wb") as file:
            file.write(header_of(infos))
            for info in infos.values():
                x = shared.standard_normal(info.size, np.float32) * np.float32(0.02)
                if seed:
                    x += own.standard_normal(info.size, np.float32) * np.float32(0.002)
                u = x.view(np.uint32)
                file.write(((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16).tobytes())
    return root
