"""What stays of a task that is deleted: its runs and results, as numbers and hashes. Its hidden rows go."""

from __future__ import annotations

from django.utils import timezone

from hub.boards import versions
from hub.boards.models import Board, Claim, HiddenRows, Result, Run
from hub.repos.models import Repository
from hub.safety.holds import held_repositories


def task_deleted(task: Repository) -> None:
    """Call it before the task's row goes, in the same transaction.

    Whoever could not see the task sees nothing of it afterwards either. One that was in quarantine counts as private.
    """
    said = {
        "task": None,
        "task_name": task.full_name,
        "task_owner": task.namespace,
        "task_private": task.private or task.pk in held_repositories([task]),
    }
    board = Board.objects.filter(task=task).first()
    if board is not None:
        HiddenRows.objects.filter(board=board).update(sealed=b"")
        Claim.objects.filter(board=board).delete()
        Run.objects.filter(board=board, state=Run.State.WAITING).update(
            state=Run.State.FAILED, problem="Its task was deleted.", finished_at=timezone.now()
        )
        Board.objects.filter(pk=board.pk).update(**said)
        versions.changed()
    Result.objects.filter(task=task).update(**said)
