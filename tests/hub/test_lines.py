"""Differences of texts, held against what `git diff` and `patch` make of them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hub.repos.lines import MAX_DIFFERENCES, hunks

TEXTS = st.lists(st.sampled_from("abcde"), max_size=30)


def rebuilt(old: list[str], new: list[str]) -> list[str]:
    """`old` with the hunks applied as patch would: by line number, checking what is there."""
    made, at = [], 0
    for hunk in hunks(old, new):
        first = next((line.old for line in hunk.lines if line.old), None)
        start = first - 1 if first is not None else int(hunk.header.split()[1][1:].split(",")[0])
        made += old[at:start]
        at = start
        for line in hunk.lines:
            if line.sign in " -":
                assert old[at] == line.text
                at += 1
            if line.sign in " +":
                made.append(line.text)
                assert len(made) == line.new
    return made + old[at:]


@given(TEXTS, TEXTS)
def test_applying_the_hunks_gives_the_new_text(old: list[str], new: list[str]) -> None:
    assert rebuilt(old, new) == new


@given(TEXTS, TEXTS)
def test_no_way_has_fewer_differences(old: list[str], new: list[str]) -> None:
    lengths = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]  # of the longest common subsequence
    for i, left in enumerate(old):
        for j, right in enumerate(new):
            lengths[i + 1][j + 1] = lengths[i][j] + 1 if left == right else max(lengths[i][j + 1], lengths[i + 1][j])

    changed = sum(line.sign != " " for hunk in hunks(old, new) for line in hunk.lines)

    assert changed == len(old) + len(new) - 2 * lengths[-1][-1]


def test_hunks_read_as_git_writes_them(tmp_path: Path) -> None:
    old = [f"line {i}" for i in range(60)]
    new = [*old[:10], "inserted", *old[10:40], *old[42:], "at the end"]
    for name, lines in (("old", old), ("new", new)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))

    command = ["git", "diff", "--no-index", "--no-color", "old", "new"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout.splitlines()

    ours = [
        text for hunk in hunks(old, new) for text in [hunk.header, *(f"{line.sign}{line.text}" for line in hunk.lines)]
    ]
    theirs = [line if not line.startswith("@@") else line[: line.index("@@", 2) + 2] for line in said[4:]]
    assert ours == theirs


def test_a_file_that_appears_or_goes_has_the_ranges_of_git() -> None:
    assert [hunk.header for hunk in hunks([], ["a", "b"])] == ["@@ -0,0 +1,2 @@"]
    assert [hunk.header for hunk in hunks(["a"], [])] == ["@@ -1 +0,0 @@"]


def test_texts_without_anything_in_common_take_no_time() -> None:
    old, new = [f"old {i}" for i in range(20_000)], [f"new {i}" for i in range(20_000)]

    start = time.process_time()
    found = hunks(["same", *old], ["same", *new])

    assert time.process_time() - start < 5
    assert sum(line.sign != " " for line in found[0].lines) == 40_000 > MAX_DIFFERENCES
