"""The YAML block above a card: read, written back with the rest untouched, checked."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hub.catalog.frontmatter import BadFrontMatter, languages, lenient, parse, split, validate, write

CARD = """---
# what we know
license: mit  # for now
tags:
  - one
  - two
language: no
---
# Title

---
not a block
"""


def test_a_block_is_data_and_the_rest_is_the_card() -> None:
    assert parse(CARD) == {"license": "mit", "tags": ["one", "two"], "language": False}
    assert languages(parse(CARD)) == ["no"]
    assert split(CARD)[1].startswith("# Title")
    assert parse("# no block\n---\na: 1\n---\n") == {} == parse("---\n---\n")
    assert parse("---\r\na: 1\r\n---\r\nx") == {"a": 1}


def test_writing_back_keeps_every_line_that_did_not_change() -> None:
    data = parse(CARD)
    assert write(CARD, data) == CARD

    changed = write(CARD, {**data, "tags": ["three"], "new": {"a": 1}})
    assert "license: mit  # for now" in changed and "# what we know" in changed
    assert parse(changed) == {**data, "tags": ["three"], "new": {"a": 1}}
    assert changed.endswith(split(CARD)[1])

    fewer = write(CARD, {"license": "apache-2.0"})
    assert parse(fewer) == {"license": "apache-2.0"}
    assert write("# Only words\n", {"license": "mit"}) == "---\nlicense: mit\n---\n# Only words\n"
    assert parse(write("---\n{a: 1, b: 2}\n---\nx", {"a": 3})) == {"a": 3}
    assert write("---\r\na: 1\r\n---\r\nx\r\n", {"a": 2}) == "---\r\na: 2\r\n---\r\nx\r\n"


@pytest.mark.parametrize(
    "block",
    ["a: [1", "- a\n- b", "a: &x [1]\nb: *x", "a: 2024-13-45", "a: " + "[" * 30 + "]" * 30,
     "a: !!python/object:os.system x", "a: '" + "x" * 70_000 + "'", "\tb: 1", "a: 1\n b: 2"],
)  # fmt: skip
def test_what_is_no_plain_yaml_is_refused_in_time(block: str) -> None:
    card = f"---\n{block}\n---\n"
    began = time.process_time()

    with pytest.raises(BadFrontMatter):
        parse(card)
    assert validate(card).errors
    assert lenient(card) == {}
    assert time.process_time() - began < 1


def test_values_that_json_lacks_become_text_or_nothing() -> None:
    data = parse("---\nday: 2026-01-02\nn: .nan\nbig: 123456789012345678901234567890\n1: x\n---\n")

    assert data == {"day": "2026-01-02", "n": None, "big": "123456789012345678901234567890", "1": "x"}


@pytest.mark.parametrize(
    ("block", "errors", "warnings"),
    [
        ("license: mit", 0, 0),
        ("license: [mit, apache-2.0]\nlanguage: [en, no]\ntags: [a]", 0, 0),
        ("license: llama3", 0, 0),
        ("license: MIT OR Apache-2.0", 0, 0),
        ("license: homemade", 0, 1),
        ("license: other", 0, 1),
        ("tags: x", 0, 1),
        ("license: mit\nlanguage: Klingonese!", 0, 1),
        ("license: 5", 1, 0),
        ("license: mit\ntags: {a: 1}", 1, 0),
        ("license: mit\npipeline_tag: [a]", 1, 0),
        ("license: mit\nbase_model: [1]", 1, 0),
    ],
)
def test_mistakes_are_errors_and_gaps_are_warnings(block: str, errors: int, warnings: int) -> None:
    verdict = validate(f"---\n{block}\n---\n")

    assert (len(verdict.errors), len(verdict.warnings)) == (errors, warnings), verdict


def test_a_card_without_a_block_and_a_space_without_sdk_are_warned_of() -> None:
    assert validate("# Hello").warnings
    assert len(validate("---\nlicense: mit\n---\n", repository_type="space").warnings) == 1


def test_a_license_is_normalised_and_known_for_what_it_permits() -> None:
    from priors.licenses import Permissions, normalise, permissions

    wanted: list[tuple[Any, str, Permissions]] = [
        ("apache-2.0", "Apache-2.0", Permissions(True, True)),
        ("Apache 2.0", "Apache-2.0", Permissions(True, True)),
        ("gpl-3.0", "GPL-3.0-only", Permissions(True, True)),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0", Permissions(False, True)),
        ("cc-by-nc-nd-4.0", "CC-BY-NC-ND-4.0", Permissions(False, False)),
        ("MIT AND CC-BY-NC-4.0", "MIT AND CC-BY-NC-4.0", Permissions(False, True)),
        (["mit", "cc-by-nc-4.0"], "MIT OR CC-BY-NC-4.0", Permissions(True, True)),
        ("llama3", "LicenseRef-llama3", Permissions(None, True)),
        ("openrail", "LicenseRef-openrail", Permissions(True, True)),
        ("homemade", "LicenseRef-homemade", Permissions(None, None)),
        ("MIT AND LicenseRef-homemade", "MIT AND LicenseRef-homemade", Permissions(None, None)),
        (
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "GPL-2.0-only WITH Classpath-exception-2.0",
            Permissions(True, True),
        ),
        ("other", "", Permissions(None, None)),
        (None, "", Permissions(None, None)),
        (7, "", Permissions(None, None)),
    ]

    for said, spdx, may in wanted:
        assert (normalise(said), permissions(normalise(said))) == (spdx, may)
