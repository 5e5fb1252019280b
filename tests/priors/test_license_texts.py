"""Whatever a stranger writes as a license is read or is unknown; the parser of expressions has more ways to fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from priors.licenses import alternatives, normalise, permissions

WORDS = ["MIT", "AND", "OR", "WITH", "(", ")", "GPL-2.0-only", "+", "Classpath-exception-2.0", "()"]


@pytest.mark.parametrize(
    "text", ["()", "(", "MIT (", "() OR MIT", "AND", "MIT WITH", "(AND 0", "(" * 90 + "MIT" + ")" * 90]
)
def test_a_license_that_is_none_is_no_error(text: str) -> None:
    assert isinstance(normalise(text), str)


@given(st.one_of(st.text("ABMITGPLORNDWH()-. +01", max_size=200), st.lists(st.sampled_from(WORDS)).map(" ".join)))
def test_no_text_is_an_error(text: str) -> None:
    expression = normalise(text)

    permissions(expression)
    assert all(way for way in alternatives(expression))
