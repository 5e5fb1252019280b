"""Which backend runs, who may force one, and what happens where none can be built."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels._dispatch import choose
from kernels.errors import BackendUnavailable
from kernels.gated_fusion import _cpu, _reference, gated_fusion

ROOT = Path(__file__).parents[2]
FUSE = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
import torch
from kernels.gated_fusion import _cpu, gated_fusion
torch.manual_seed(0)
blocks, logits = [torch.randn(40, 30) for _ in range(2)], torch.randn(40, 2)
for _ in range(3):
    y = gated_fusion(blocks, logits)
print("ran", "reference" if _cpu.refusal([y]) else "cpu", round(y.sum().item(), 2))
"""


def fuse_in_a_process(**environment: str) -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("CC", "KERNELS")}
    return subprocess.Popen(
        [sys.executable, "-c", FUSE], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**kept, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def test_the_first_backend_that_does_not_refuse_is_chosen():
    assert choose("op", {"triton": lambda: None, "cpu": lambda: None}) == "triton"
    assert choose("op", {"triton": lambda: "no GPU", "cpu": lambda: None}) == "cpu"
    assert choose("op", {"triton": lambda: "no GPU", "cpu": lambda: "no compiler"}) == "reference"
    assert choose("op", {}) == "reference"


@pytest.mark.parametrize("forced", ["reference", "cpu"])
def test_kernels_forces_a_backend_at_every_call(forced, monkeypatch):
    used = []
    for name, module in (("reference", _reference), ("cpu", _cpu)):
        real = module.gated_fusion
        monkeypatch.setattr(module, "gated_fusion", lambda *a, name=name, real=real: (used.append(name), real(*a))[1])
    monkeypatch.setenv("KERNELS", forced)

    gated_fusion([torch.randn(3, 4)], torch.zeros(3, 1))

    assert used == [forced]


@pytest.mark.parametrize(
    ("forced", "dtype", "said"),
    [
        (
            "triton",
            torch.float32,
            "gated_fusion has no triton backend. Use KERNELS=reference or KERNELS=cpu, or unset it.",
        ),
        ("cuda", torch.float32, "KERNELS=cuda is no backend. Use reference, cpu, triton, or unset it."),
        ("cpu", torch.float64, "torch.float64"),
    ],
)
def test_a_forced_backend_that_cannot_run_says_why(forced, dtype, said, monkeypatch):
    monkeypatch.setenv("KERNELS", forced)

    with pytest.raises(BackendUnavailable) as error:
        gated_fusion([torch.zeros(3, 4, dtype=dtype)], torch.zeros(3, 1, dtype=dtype))

    assert said in str(error.value)


@pytest.mark.parametrize(
    ("environment", "why"),
    [({"PATH": ""}, "no C compiler is found"), ({"CC": "false"}, "false failed")],
    ids=["no compiler", "a compiler that fails"],
)
def test_without_a_working_compiler_the_reference_runs_and_one_line_says_so(environment, why, tmp_path):
    output, _ = fuse_in_a_process(PRIORHUB_HOME=str(tmp_path), **environment).communicate()

    said = [line for line in output.splitlines() if "not compiled" in line]
    assert len(said) == 1 and why in said[0]
    assert "ran reference" in output


def test_an_unwritable_cache_falls_back_to_the_reference(tmp_path):
    (tmp_path / "home").write_text("a file where the directory should be")

    output, _ = fuse_in_a_process(PRIORHUB_HOME=str(tmp_path / "home")).communicate()

    assert "ran reference" in output


@pytest.mark.slow
def test_four_processes_may_compile_the_same_kernel_at_once(tmp_path):
    if reason := _cpu.refusal([torch.zeros(1, 1)]):
        pytest.skip(f"no CPU kernel: {reason}")
    processes = [fuse_in_a_process(PRIORHUB_HOME=str(tmp_path)) for _ in range(4)]
    outputs = [process.communicate()[0] for process in processes]

    assert len(set(outputs)) == 1 and outputs[0].startswith("ran cpu")
    assert [path.suffix for path in (tmp_path / "kernels").iterdir()] == [".so"]
