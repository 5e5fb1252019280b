"""Tokens and keys in text, by the forms their makers gave them. Pure; what follows from a find is leaks.py's.

Only forms with a fixed prefix and length are looked for: a guess by entropy would refuse vocabularies and hashes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hub.accounts.tokens import well_formed

OURS = "a token of a hub like this"

_FORMS: dict[str, tuple[str, str]] = {
    "ours": (OURS, r"ph_[0-9A-Za-z]{38}"),
    "huggingface": ("a Hugging Face token", r"hf_[A-Za-z0-9]{34}"),
    "github": ("a GitHub token", r"gh[pousr]_[A-Za-z0-9]{36}"),
    "github_fine": ("a GitHub fine-grained token", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    "gitlab": ("a GitLab token", r"glpat-[A-Za-z0-9_-]{20}"),
    "aws": ("an AWS access key", r"(?:AKIA|ASIA)(?![A-Z0-9]{9}EXAMPLE)[A-Z2-7]{16}"),
    "google": ("a Google API key", r"AIza[A-Za-z0-9_-]{35}"),
    "anthropic": ("an Anthropic key", r"sk-ant-[a-z0-9]{3,8}-[A-Za-z0-9_-]{32,200}"),
    "openai": (
        "an OpenAI key",
        r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,220}|sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}",
    ),
    "slack": ("a Slack token", r"xox[abeoprs]-[A-Za-z0-9-]{20,250}"),
    "slack_hook": ("a Slack webhook", r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}"),
    "stripe": ("a Stripe key", r"[sr]k_live_[A-Za-z0-9]{24,120}"),
    "npm": ("an npm token", r"npm_[A-Za-z0-9]{36}"),
    "pypi": ("a PyPI token", r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,250}"),
    "docker": ("a Docker token", r"dckr_pat_[A-Za-z0-9_-]{27}"),
    "sendgrid": ("a SendGrid key", r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    "replicate": ("a Replicate token", r"r8_[A-Za-z0-9]{37}"),
    "azure": ("an Azure storage key", r"AccountKey=[A-Za-z0-9+/]{86}=="),
    "pem": (
        "a private key",
        r"-----BEGIN (?:[A-Z]{2,9} ){0,2}PRIVATE KEY(?: BLOCK)?-----[\s\\rn]{1,8}[A-Za-z0-9+/=:, -]{16}",
    ),
}  # fmt: skip
FORMS = {name: label for name, (label, _) in _FORMS.items()}

# No prefix may be the tail of a longer word, and no token goes on: what only begins alike is something else.
_PATTERN = re.compile(
    ("(?<![A-Za-z0-9_])(?:" + "|".join(f"(?P<{name}>{form})" for name, (_, form) in _FORMS.items()) + ")").encode()
)
_GOES_ON = re.compile(rb"[A-Za-z0-9_]")
_HINTS = (
    b"ph_", b"hf_", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-", b"AKIA", b"ASIA", b"AIza",
    b"sk-ant-", b"sk-proj-", b"sk-svcacct-", b"sk-admin-", b"T3BlbkFJ", b"xox", b"hooks.slack.com", b"k_live_", b"npm_",
    b"pypi-AgE", b"dckr_pat_", b"SG.", b"r8_", b"AccountKey=", b"PRIVATE KEY",
)  # fmt: skip
"""Part of every form. Looking for each of these first is ten times faster than the pattern where there is nothing."""
_EXACT = frozenset(
    ["ours", "huggingface", "github", "github_fine", "gitlab", "aws", "google", "npm", "docker", "replicate"]
)


@dataclass(frozen=True)
class Secret:
    """One find: which form, in which line from 1 on. The text itself is for comparing, and is never shown."""

    form: str
    line: int
    text: str = field(repr=False)


def find_secrets(content: bytes) -> Iterator[Secret]:
    """Every token or key in `content`, in order; a token of ours only with a right checksum."""
    if not any(hint in content for hint in _HINTS):
        return
    for match in _PATTERN.finditer(content):
        form = match.lastgroup or ""
        if form in _EXACT and _GOES_ON.match(content, match.end()):
            continue
        text = match.group().decode("ascii")
        if form != "ours" or well_formed(text):
            yield Secret(form, content.count(b"\n", 0, match.start()) + 1, text)


def looks_like_text(head: bytes) -> bool:
    """Whether a file that begins so may hold text in which somebody could read a token."""
    return b"\x00" not in head
