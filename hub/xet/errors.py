"""Refusals of the Xet routes; the tree above them is priors/errors.py."""

from __future__ import annotations

from typing import ClassVar

from priors.errors import UserError


class BadXorb(UserError):
    """The bytes are not a xorb, or not the one their address names."""

    code: ClassVar[str] = "bad-xorb"
    status: ClassVar[int] = 400


class BadShard(UserError):
    """The bytes are not a shard, or it describes files that do not rebuild."""

    code: ClassVar[str] = "bad-shard"
    status: ClassVar[int] = 400
