"""One way to print a comparison: the first row is ours, the others say how much longer they take."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks._timing import Times


@dataclass(frozen=True)
class Target:
    """What a ratio must reach: `ratio` of `against` over ours, at least; where the design notes promise one."""

    against: str
    ratio: float


def show(title: str, times: Mapping[str, Times], target: Target | None = None, floor: float | None = None) -> None:
    """Print a table. `floor` is in seconds: the time the bytes alone need, at this machine's measured copy speed."""
    print(f"\n{title}")
    ours = next(iter(times.values()))
    for name, taken in times.items():
        print(f"  {name:<34} {taken!s:<34} {taken.median / ours.median:6.2f}x")
    if floor is not None:
        print(f"  {'bytes alone':<34} {floor * 1e3:8.2f} ms {'':<22} {floor / ours.median:6.2f}x")
    if target is not None:
        reached = times[target.against].median / ours.median
        verdict = "reached" if reached >= target.ratio else "missed"
        print(f"  target: {target.against} takes at least {target.ratio:.2f}x as long: {reached:.2f}x, {verdict}")
