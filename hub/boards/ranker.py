"""The learned ranker of this hub: a job that trains it from what was measured, and a repository that has its versions.

The job is an administrator's, since it writes to the hub's own namespace. Nobody else can ask for one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hub.accounts.models import User
from hub.boards.history import STARTER, told
from hub.jobs import services as jobs
from hub.jobs.models import Job
from hub.repos import services as repos
from hub.repos.models import Namespace, Repository
from priors.errors import UserError

if TYPE_CHECKING:
    from composer.rank.learned import Ranker

logger = logging.getLogger(__name__)

REPOSITORY = f"{STARTER}/ranker"

_MOST = 256 << 20
"""Bytes of weights that are read: networks of under 2 million parameters, several a modality."""


def ask() -> Job | None:
    """The job that learns from the history as it is now: a new one, or the one that did. None where nobody could own
    what it makes, or nothing was measured."""
    owner = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    found = told()
    if owner is None or not found.past.outcomes or not Namespace.objects.filter(name=STARTER).exists():
        return None
    return jobs.start(kind=Job.Kind.RETRAIN, spec={"history": found.mark}, owner=owner)


def trained() -> Ranker | None:
    """The ranker as it was last trained, for workers; None where none was, or what lies there is none."""
    from composer.rank.learned import CONFIG_FILE, WEIGHTS_FILE, Ranker  # numpy, wanted by workers only

    found = Repository.objects.for_cards().named(REPOSITORY).first()
    if found is None or found.head is None:
        return None
    try:
        return Ranker.read(*(repos.read_file(found.head, name, limit=_MOST) for name in (CONFIG_FILE, WEIGHTS_FILE)))
    except UserError as error:
        logger.warning("recommending without the learned tier", extra={"cause": str(error)})
        return None
