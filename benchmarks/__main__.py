"""`python -m benchmarks`: print every comparison, or those named with --only. README.md says how to read them.

`python -m benchmarks catalog` asks a hub with many repositories; it starts one and takes minutes.
`python -m benchmarks merge` merges checkpoints with ours and, where it is installed, with mergekit.
`python -m benchmarks fit` prints the fitted composition of given sets against their members, on real tasks.
`python -m benchmarks store` counts what files cost on disk and on the wire.
`python -m benchmarks encode --peer PYTHON` reads texts beside sentence-transformers.
`python -m benchmarks setfit` holds adaptation against SetFit and peft, which have an environment of their own.
`python -m benchmarks signin` asks whether the time of a failed sign-in tells if the name is known.
"""

import argparse
import os
import sys
from collections.abc import Callable

import torch

from benchmarks import (
    catalog,
    cold,
    encode,
    evidence,
    fit,
    fitted,
    forward,
    fusion,
    merge,
    press,
    serve,
    setfit,
    signin,
    store,
)
from benchmarks._timing import ALLOCATOR, environment

PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "fusion": lambda options: fusion.run(options.rounds, options.compile),
    "forward": lambda options: forward.run(options.rounds),
    "fit": lambda options: fit.run(),
    "press": lambda options: press.run(),
    "evidence": lambda options: evidence.run(),
    "cold": lambda options: cold.run(options.rounds),
    "serve": lambda options: serve.run(options.rounds),
}


def main() -> None:
    if sys.argv[1:2] == ["catalog"]:
        catalog.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["encode"]:
        encode.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["setfit"]:
        setfit.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["fit"]:
        fitted.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["signin"]:
        signin.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["merge"]:
        merge.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["store"]:
        store.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios, each from one interleaved run.")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="parts to run; all by default")
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of the short comparisons")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads torch may use")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which takes a minute to compile")
    parser.add_argument("--allocator", choices=["tuned", "default"], default="tuned", help="see README.md")
    options = parser.parse_args()
    if options.allocator == "tuned" and any(os.environ.get(k) != v for k, v in ALLOCATOR.items()):
        # malloc reads its settings when the process starts, so it has to start again.
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]], {**os.environ, **ALLOCATOR})  # noqa: S606
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(environment())
    for name in options.only:
        PARTS[name](options)


if __name__ == "__main__":
    main()
