"""Compile a kernel's C source on first use and load it with ctypes.

Plain C without torch headers compiles in about a second and is bound to no torch ABI. The library lies in a cache
under a name made of everything that decides its content, so an upgrade of source, compiler or torch takes a new file,
and processes that compile the same kernel at once each rename a finished file over the other's equal one.

torch is imported only for kernels that share its threads: what merges files starts without it.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# -ffp-contract=fast: -std=c11 alone forbids fused multiply-add. Nothing of -ffast-math: inf and NaN must pass through.
# -Wno-psabi: gcc notes that 64-byte vectors change the calling convention; ours are never passed between functions.
FLAGS = ("-std=c11", "-O3", "-ffp-contract=fast", "-fPIC", "-Wno-psabi")
# -fno-trapping-math: nobody reads the floating-point flags, and choosing by a comparison vectorises (7 times as fast).
EXACT = ("-ffp-contract=off", "-fno-trapping-math")
# Argument types; ctypes would pass a pointer as a 32-bit int. Any: it states the types of `argtypes` too narrowly for a
# list of its own types.
POINTER: Any = ctypes.c_void_p
SIZE: Any = ctypes.c_int64
NUMBER: Any = ctypes.c_int32
REAL: Any = ctypes.c_float
COMPILE_SECONDS = 120  # far above the second it takes; a compiler that hangs must not hang the program


class BuildFailed(Exception):
    """The kernel could not be compiled or loaded here; the message is a clause that says why."""


@cache
def library(source: Path, *, exact: bool = False) -> ctypes.CDLL | BuildFailed:
    """The compiled `source`, or why there is none: tried once in a process, and said once in the log.

    exact  one thread and no fused multiply-add: the same bits on every processor, and no torch is needed
    """
    try:
        return _load(source, exact)
    except BuildFailed as failure:
        logger.warning("%s not compiled, the slower reference is used: %s", source.name, failure)
        return failure


def refusal(source: Path, *, exact: bool = False) -> str | None:
    """Why there is no compiled `source` here; None where there is."""
    built = library(source, exact=exact)
    return str(built) if isinstance(built, BuildFailed) else None


def functions(source: Path, *, exact: bool = False) -> ctypes.CDLL:
    """The compiled `source`, for whoever states its argument types. Raises BuildFailed; `refusal` asks first."""
    built = library(source, exact=exact)
    if isinstance(built, BuildFailed):
        raise built
    return built


def cache_directory() -> Path:
    """PRIORHUB_HOME/kernels when that is set, else the user's cache directory."""
    if home := os.environ.get("PRIORHUB_HOME"):
        return Path(home).expanduser() / "kernels"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "priorhub" / "kernels"


def _load(source: Path, exact: bool) -> ctypes.CDLL:
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None:
        raise BuildFailed("no C compiler is found (install one, or name it in CC)")
    flags, runtime = ((*FLAGS, *EXACT), None) if exact else (FLAGS, _openmp_runtime())
    code = source.read_bytes()
    tool = Path(compiler).resolve()
    stamp = tool.stat()
    facts = (*flags, str(tool), stamp.st_size, stamp.st_mtime_ns, platform.machine(), runtime, _torch_version(exact))
    key = hashlib.sha256(code + repr(facts).encode()).hexdigest()[:20]
    try:
        directory = cache_directory()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        built = directory / f"{source.parent.name}-{key}.so"
        if not built.is_file():
            _compile(compiler, flags, source, built, runtime)
        return ctypes.CDLL(str(built))
    except OSError as error:
        raise BuildFailed(str(error)) from error


def _openmp_runtime() -> Path | None:
    """The OpenMP library torch itself runs on, so that both share one pool of threads; None: build without threads.

    A second runtime would bring a second pool, whose idle threads spin on the cores torch wants (libgomp waits so).
    """
    import torch

    folder = Path(torch.__file__).parent / "lib"
    found = (path for pattern in ("libgomp*", "libiomp5*", "libomp*") for path in sorted(folder.glob(pattern)))
    return next(found, None)


def _torch_version(exact: bool) -> str | None:
    if exact:
        return None
    import torch

    return str(torch.__version__)


def _compile(compiler: str, flags: tuple[str, ...], source: Path, built: Path, runtime: Path | None) -> None:
    """Write `built`, whole or not at all. Without a usable OpenMP the kernel runs on one thread."""
    with tempfile.TemporaryDirectory(dir=built.parent, prefix=".build-") as scratch:
        made, compiled = Path(scratch) / built.name, str(Path(scratch) / "kernel.o")
        attempts = [(["-fopenmp"], [str(runtime)])] if runtime else []
        for extra, link in [*attempts, ([], [])]:
            steps = (
                [compiler, *flags, *extra, "-c", str(source), "-o", compiled],
                [compiler, "-shared", compiled, *link, "-lm", "-o", str(made)],
            )
            complaint = next((text for step in steps if (text := _run(step)) is not None), None)
            if complaint is None:
                made.replace(built)
                return
        raise BuildFailed(f"{compiler} failed: {complaint}")


def _run(command: list[str]) -> str | None:
    """Run one step of the compiler; None when it worked, else the first thing it complained about."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {COMPILE_SECONDS} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return next((line for line in lines if "error" in line), lines[0] if lines else f"exit code {done.returncode}")
