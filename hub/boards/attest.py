"""What a worker measured, sealed for its claim: only whoever holds the claim can say it, once, and unchanged.

The token of a claim is a keyed hash of job and fence. A result carries a keyed hash of everything it says under that
token, so one of another job, of a claim that was taken back, or with edited numbers is refused. What it says is judged
again when it is recorded (recording.py): means and intervals are never taken from a worker.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any, ClassVar

from django.utils.crypto import salted_hmac

from priors.errors import UserError


class ResultRefused(UserError):
    """What a worker says it measured cannot be so."""

    code: ClassVar[str] = "result-refused"


def token_of(job_id: object, fence: int) -> str:
    """What a worker is handed with a claim."""
    return salted_hmac("board.claim", f"{job_id}:{fence}", algorithm="sha256").hexdigest()


def seal(token: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """What is sent back: the content and its seal."""
    return {"measured": dict(measured), "seal": _seal(token, measured)}


def opened(token: str, sent: Mapping[str, Any] | None) -> dict[str, Any]:
    """The content, if it was sealed with this token. Raises ResultRefused."""
    measured = (sent or {}).get("measured")
    if not isinstance(measured, dict):
        raise ResultRefused("The job ended without a result. Submit again.")
    if not hmac.compare_digest(_seal(token, measured), str((sent or {}).get("seal", ""))):
        raise ResultRefused("The result is not of this claim, or was changed since it was measured. Submit again.")
    return measured


def _seal(token: str, measured: Mapping[str, Any]) -> str:
    text = json.dumps(measured, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.digest(token.encode(), text.encode(), "sha256").hex()
