"""Hidden rows: taken in once, sealed, and opened only where work is done on them.

A file of rows with the task's columns, or for pictures and sounds a zip of `data.csv` (or .jsonl, .parquet) with a
`media/` folder. There is no function here that gives the file back to anybody.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from hub.accounts import audit
from hub.accounts.models import User
from hub.accounts.sealing import NotSealed, seal, unseal
from hub.boards.models import Board, HiddenRows
from hub.errors import BadRequest, BadSpec, TooLarge
from hub.home import scratch
from hub.repos import services as repos
from hub.repos.models import Repository
from priors.errors import AppError, BadTask, NotFound

if TYPE_CHECKING:
    from priors.tasks import Task

_TABLE = re.compile(r"data\.(csv|tsv|jsonl|parquet)\Z")
_MEMBER = re.compile(r"(data\.(csv|tsv|jsonl|parquet)|media/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199})\Z")
_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", ".zip")
_MOST_FILES, _GROWS = 20_000, 4


def keep(*, board: Board, name: str, content: bytes, by: User) -> HiddenRows:
    """Hides these rows on the board from now on; runs against others are of another edition.

    Raises BadRequest, TooLarge, BadTable or BadTask for a file that is no table of the task's columns and labels, and
    for rows that stand in the open table too.
    """
    if board.live_task.kind != Repository.Kind.TASK:
        raise BadSpec(f"{board.live_task} is a {board.live_task.kind}, and has no rows to hide others of.")
    suffix = Path(name).suffix.lower()
    if suffix not in _SUFFIXES:
        raise BadRequest(f"{name[:100]!r} is no table. Send a file that ends in {', '.join(_SUFFIXES)}.")
    if len(content) > settings.HIDDEN_MAX_BYTES:
        raise TooLarge(
            f"Hidden rows of {len(content):,} bytes; {settings.HIDDEN_MAX_BYTES:,} are the most. Send fewer rows."
        )
    rows = _checked(board, f"data{suffix}", content)
    mark = seal_of(board, content)
    with transaction.atomic():
        made, is_new = HiddenRows.objects.get_or_create(
            board=board, seal=mark,
            defaults={"name": f"data{suffix}", "rows": rows, "by_name": by.username,
                      "sealed": seal(_purpose(board, mark), base64.b64encode(content).decode()).encode()},
        )  # fmt: skip
        if not is_new:  # the same rows again: they are in use from now on, and runs that wait for them keep them
            HiddenRows.objects.filter(pk=made.pk).update(created_at=timezone.now())
        audit.record(
            "board.hidden-rows", by=by, subject=board.live_task, namespace=board.live_task.namespace, rows=rows
        )
    return made


def of(board: Board) -> HiddenRows | None:
    """The hidden rows in use, without their content."""
    return board.hidden.defer("sealed").first()


def of_all(boards: Iterable[Board]) -> dict[int, HiddenRows]:
    """The same for many boards, by their keys."""
    found = (
        HiddenRows.objects.filter(board__in=[board.pk for board in boards]).defer("sealed").order_by("created_at", "id")
    )
    return {rows.board_id: rows for rows in found}


def seal_of(board: Board, content: bytes) -> str:
    """What names the rows in public: the salt keeps whoever guesses at the file from finding out."""
    return hashlib.sha256(board.salt.encode() + content).hexdigest()


def read(rows: HiddenRows, task: Task, folder: Path) -> Task:
    """The rows as a task, unpacked into `folder`; for workers. Raises AppError when SECRET_KEY is not theirs."""
    board = rows.board
    try:
        content = base64.b64decode(unseal(_purpose(board, rows.seal), bytes(rows.sealed).decode()))
    except NotSealed as error:
        raise AppError(
            f"The hidden rows of {task.name} were sealed with another SECRET_KEY. Its owner has to send them again."
        ) from error
    if seal_of(board, content) != rows.seal:
        raise AppError(f"The hidden rows of {task.name} are not those of their seal.")
    return _read(task, rows.name, content, folder)


def _checked(board: Board, name: str, content: bytes) -> int:
    """How many rows there are, once read as a worker will read them."""
    from priors.tasks import Task, held_out  # pyarrow, for whoever sends rows

    if board.live_task.head is None:
        raise NotFound(f"{board.live_task} has no rows yet. Push the task first.")
    with _folder() as folder:
        task = Task.from_dir(repos.materialise(board.live_task.head, folder / "task"))
        rows = _read(task, name, content, folder / "hidden")
        both = held_out.shared(held_out.marks(rows), held_out.marks(task))
        if both > held_out.allowed(rows):
            raise BadTask(
                f"{both} of {len(rows)} hidden rows stand among the open rows of {task.name}. Take them out of one."
            )
        return len(rows)


def _read(task: Task, name: str, content: bytes, folder: Path) -> Task:
    from priors.tasks import held_out

    folder.mkdir(parents=True)
    if not name.endswith(".zip"):
        (folder / name).write_bytes(content)
        return held_out.read_rows(task, folder / name)
    packed = folder / "packed.zip"
    packed.write_bytes(content)
    table = _unpack(packed, folder)
    packed.unlink()
    return held_out.read_rows(task, table)


def _unpack(packed: Path, folder: Path) -> Path:
    """Only names that we know, and no more bytes than they say. Gives the table's path."""
    try:
        with zipfile.ZipFile(packed) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            for member in members:
                if not _MEMBER.match(member.filename):
                    raise BadRequest(f"{member.filename[:100]!r} may not stand in hidden rows: only data.* and media/.")
            most = _GROWS * settings.HIDDEN_MAX_BYTES
            if len(members) > _MOST_FILES or sum(member.file_size for member in members) > most:
                raise TooLarge(f"The zip holds more than {_MOST_FILES:,} files or {most:,} bytes. Send fewer rows.")
            (folder / "media").mkdir()
            for member in members:
                with archive.open(member) as source, (folder / member.filename).open("wb") as target:
                    _copy(source, target, member.file_size)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise BadRequest(f"The zip cannot be read: {error}. Pack it again, without a password.") from error
    tables = [member.filename for member in members if _TABLE.match(member.filename)]
    if len(tables) != 1:
        raise BadRequest(f"The zip holds {len(tables)} tables. Put one data.csv, data.jsonl or data.parquet in it.")
    return folder / tables[0]


def _copy(source: Any, target: Any, size: int) -> None:
    left = size
    while left > 0 and (piece := source.read(min(left, 1 << 20))):
        target.write(piece)
        left -= len(piece)
    if left or source.read(1):
        raise BadRequest("A file in the zip has another size than it says. Pack it again.")


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hidden-", dir=scratch()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _purpose(board: Board, mark: str) -> str:
    return f"hidden rows {mark} of board {board.pk}"
