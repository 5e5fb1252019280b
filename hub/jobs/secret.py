"""The token an import shows to the hub it copies from: sealed while the job lives, opened only in its worker.

It is sealed for one job and one address. A row that is copied to another job opens nothing, and neither does one whose
source the operator has pointed elsewhere since: the token was meant for the old address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from hub.accounts.sealing import NotSealed, seal, unseal
from hub.errors import BadSpec
from hub.jobs import sources
from hub.jobs.models import Job, SourceToken
from priors.errors import AddressRefused, NotAllowed, NotFound, RemoteFailed, TokenRejected

_TOKEN = re.compile(r"[!-~]{8,1024}\Z")
"""What may stand in a header. Shorter ones are none, and could not be told from ordinary words in messages."""

_REFUSALS = (AddressRefused, NotAllowed, NotFound, RemoteFailed, TokenRejected)


def check(kind: str, spec: Mapping[str, Any], token: str) -> None:
    """Raises BadSpec for a token where none is of use, that is none, or that would travel in the clear."""
    if kind != Job.Kind.IMPORT:
        raise BadSpec(f"A {kind} job shows no token to anybody. Leave source_token out.")
    if not _TOKEN.match(token):
        raise BadSpec("source_token is no token: it has 8 to 1,024 letters, digits and signs without spaces.")
    address, _ = sources.endpoint(spec["source"])
    if not address.startswith("https://") and not settings.IMPORT_ALLOW_PRIVATE:
        raise BadSpec(f"{address} is not encrypted, so it gets no token. Its operator may list its https address.")


def keep(job: Job, token: str | None) -> None:
    """Seals the token for a live job, in place of one it had. A job that is over keeps none."""
    if token is not None and job.is_live:
        SourceToken.objects.update_or_create(job=job, defaults={"sealed": seal(_purpose(job.pk, job.spec), token)})


def forget(job_id: Any) -> None:
    """Removes the token of a job; called in the transaction that ends it."""
    SourceToken.objects.filter(job=job_id).delete()


def reveal(job_id: Any, spec: Mapping[str, Any]) -> str | None:
    """The token of a job, None when it was given none. Raises TokenRejected when it cannot be opened any more."""
    sealed = SourceToken.objects.filter(job=job_id).values_list("sealed", flat=True).first()
    if sealed is None:
        return None
    try:
        return unseal(_purpose(job_id, spec), sealed)
    except NotSealed as error:
        raise TokenRejected(
            "The token was meant for another address of the source, or this hub's SECRET_KEY changed since it was "
            "given. Ask for the import again, with the token."
        ) from error


@contextmanager
def unsaid(token: str | None) -> Iterator[None]:
    """Errors of the block say nothing of the token, though the other hub may repeat it in what it answers."""
    try:
        yield
    except Exception as error:
        if token is None or not _told(error, token):
            raise
        kind = type(error) if type(error) in _REFUSALS else RemoteFailed
        raise kind(str(error).replace(token, "[the token]")) from None


def _told(error: BaseException | None, token: str) -> bool:
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if token in str(error) or token in repr(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _purpose(job_id: Any, spec: Mapping[str, Any]) -> str:
    return f"import {job_id} from {sources.endpoint(spec['source'])[0]}"
