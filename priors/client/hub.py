"""Hub: everything a person or a program asks of a hub, over its HTTP API."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx

from priors.client import _download, _events, _past, _upload
from priors.client._transfer import Report
from priors.client._transport import Transport, error_for
from priors.client._upload import Outgoing
from priors.client.cache import Cache, file_sha256
from priors.client.config import resolve
from priors.client.paths import address_of, bare_name, safe_paths, split_repo, split_revision
from priors.client.records import Filter, Job, JobEvent, Listing, Past, Ref, Tree
from priors.errors import Conflict, HubError, HubUnreachable, NotFound, UserError

_READ_BYTES = 1 << 20
Sort = Literal["relevance", "updated", "created", "downloads", "likes", "trending", "score"]
Gate = Literal["", "auto", "manual"]
RepoKind = Literal["prior", "composition", "task", "plain"]
_MARKERS: dict[str, RepoKind] = {"prior.json": "prior", "composition.json": "composition", "task.json": "task"}


class Hub:
    """One hub. `url` and `token` default to PRIORHUB_URL and PRIORHUB_TOKEN, then to what `priorhub login` saved.

        hub = Hub("http://127.0.0.1:8000")
        folder = hub.pull("demo/topics")

    A repository is called `ns/name`; `datasets/ns/name` and `spaces/ns/name` are those types, as in the Hugging Face
    client. Without a prefix a model is meant before a dataset of the same name.

    Every method raises a subclass of HubError when the hub is away or refuses; no other error comes from the network.
    Safe to share between threads; `close()` or `with` frees its connections.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        cache: Cache | str | Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        found = resolve(url, token)
        self.url = found.url
        self.cache = cache if isinstance(cache, Cache) else Cache(cache)
        self._transport = Transport(found, transport=transport)

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Hub({self.url!r})"

    # ---- asking

    def health(self) -> dict[str, Any]:
        """{"status", "version", "hub_id"}"""
        return _mapping(self._transport.json("GET", "/health"))

    def whoami(self) -> dict[str, Any]:
        """{"name", "scopes"} of the token."""
        return _mapping(self._transport.json("GET", "/whoami"))

    def search(
        self,
        q: str = "",
        *,
        modality: str | None = None,
        kind: str | None = None,
        where: Filter | None = None,
        sort: Sort | None = None,
        limit: int | None = None,
    ) -> list[Listing]:
        """Priors by words and filters, best first unless `sort` says otherwise; all of them when `limit` is None."""
        found: list[Listing] = []
        cursor: str | None = None
        while limit is None or len(found) < limit:
            page = _mapping(
                self._transport.json(
                    "GET",
                    "/priors",
                    query={
                        "q": q or None,
                        "modality": modality,
                        "kind": kind,
                        "sort": sort,
                        **(vars(where) if where else {}),
                        "limit": 100 if limit is None else min(100, limit - len(found)),
                        "cursor": cursor,
                    },
                )
            )
            found += [Listing.read(item) for item in page.get("items", [])]
            cursor = page.get("next")
            if not cursor or not page.get("items"):
                break
        return found[:limit]

    def show(self, repo: str) -> dict[str, Any]:
        """The repository as the hub describes it; for a prior with its manifest under "manifest"."""
        repo, rev = split_revision(repo)
        found = _mapping(self._transport.json("GET", address_of(repo)))
        if found.get("kind") == "prior":
            found["manifest"] = self.manifest(repo, rev)
        return found

    def manifest(self, repo: str, rev: str = "main") -> dict[str, Any]:
        """The content of prior.json at `rev`."""
        path = f"/priors/{bare_name(repo)}/manifest"
        return _mapping(self._transport.json("GET", path, query={"rev": rev}))

    def tree(self, repo: str, rev: str = "main") -> Tree:
        """The commit `rev` means, and its files."""
        path = address_of(repo, f"/tree/{quote(rev, safe='')}")
        return Tree.read(_mapping(self._transport.json("GET", path)))

    def read(self, repo: str, path: str, rev: str = "main") -> bytes:
        """The bytes of one small file, without the cache. Raises HubError for one of more than a mebibyte."""
        content = bytearray()
        place = address_of(repo, f"/files/{quote(rev, safe='')}/{quote(path)}")
        with self._transport.stream("GET", place) as answer:
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > _READ_BYTES:
                    raise HubError(f"{path!r} has more than {_READ_BYTES:,} bytes. Pull the repository.")
        return bytes(content)

    def commits(self, repo: str, rev: str | None = None) -> list[dict[str, Any]]:
        """The commits that led to `rev`, newest first; those of all branches when it is left out."""
        found = self._transport.json("GET", address_of(repo, "/commits"), query={"rev": rev})
        return list(found["items"] if isinstance(found, dict) else found)

    # ---- what was measured

    def history(self) -> Past:
        """What this hub measured on public boards and counts. Kept in the cache: asked again only for what changed, and
        there when the hub is away."""
        return _past.fetch(self._transport, self.cache)

    def board(self, task: str) -> dict[str, Any]:
        """How the board of a task stands: what ranks, the placebos, what is only claimed, your budget."""
        return _mapping(self._transport.json("GET", f"/boards/{bare_name(task)}"))

    def open_board(
        self,
        task: str,
        *,
        labels: int | None = None,
        draws: int | None = None,
        test_rows: int | None = None,
        budget: int | None = None,
        hidden: str | Path | None = None,
    ) -> dict[str, Any]:
        """Opens the board of a task of yours, or changes its rules. None: as it is, or as usual.

        hidden  a table, or a zip of data.csv and media/, with rows that judge; the hub gives them to nobody
        """
        rules = {"labels": labels, "draws": draws, "test_rows": test_rows, "budget": budget}
        path = f"/boards/{bare_name(task)}"
        body = {key: value for key, value in rules.items() if value is not None}
        found = _mapping(self._transport.json("PUT", path, body=body))
        if hidden is not None:
            place = Path(hidden)
            content, size = place.read_bytes(), place.stat().st_size
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            with self._transport.stream(
                "PUT",
                f"{path}/hidden",
                content=iter([content]),
                query={"file": place.name},
                headers=headers,
                seconds=600,
            ) as answer:
                found["hidden_rows"] = _mapping(self._transport.read_json(answer))["rows"]
        return found

    def submit_to_board(self, task: str, name: str) -> dict[str, Any]:
        """Has a prior (perhaps `ns/name#tap`) or a composition judged; the run, whose "job" can be waited for."""
        return _mapping(self._transport.json("POST", f"/boards/{bare_name(task)}/submissions", body={"name": name}))

    def run(self, run_id: str) -> dict[str, Any]:
        """One run on a board."""
        return _mapping(self._transport.json("GET", f"/boards/runs/{_job_id(run_id)}"))

    def withdraw(self, run_id: str, why: str = "") -> dict[str, Any]:
        """Takes a run out of its ranking. It stays visible."""
        return _mapping(self._transport.json("POST", f"/boards/runs/{_job_id(run_id)}/withdraw", body={"why": why}))

    # ---- names and settings

    def refs(self, repo: str) -> list[Ref]:
        """The branches and tags of the repository, and the branches of its pull requests."""
        return [Ref.read(item) for item in self._transport.json("GET", address_of(repo, "/refs"))]

    def branch(self, repo: str, branch: str, rev: str = "main") -> Ref:
        """A new branch that begins at `rev`. Raises Conflict when there is one of that name."""
        return self._ref(repo, "branches", branch, rev)

    def tag(self, repo: str, tag: str, rev: str = "main") -> Ref:
        """A name that stays with the commit `rev` means now. Raises Conflict when there is one."""
        return self._ref(repo, "tags", tag, rev)

    def delete_branch(self, repo: str, branch: str) -> None:
        """Takes the branch away; its commits are still found by their ids. Raises Conflict for main."""
        self._transport.json("DELETE", address_of(repo, f"/branches/{quote(branch)}"))

    def delete_tag(self, repo: str, tag: str) -> None:
        self._transport.json("DELETE", address_of(repo, f"/tags/{quote(tag)}"))

    def move(self, repo: str, to: str) -> None:
        """Gives the repository another name, namespace included. Pulls by the old name find it; pushes say so."""
        if split_repo(to)[0] not in {"", split_repo(repo)[0]}:
            raise HubError(f"{repo} stays what it is; '{to[:120]}' would be another type. Give a name of the same.")
        self._transport.json("POST", address_of(repo, "/move"), body={"to": bare_name(to)})

    def settings(
        self,
        repo: str,
        *,
        private: bool | None = None,
        gated: Gate | None = None,
        description: str | None = None,
    ) -> dict[str, Any]:
        """Changes what is given, and returns the repository as the hub describes it then.

        gated  "auto": whoever asks gets the files; "manual": whom an owner lets in; "": everybody who sees it
        """
        given = {"private": private, "gated": gated, "description": description}
        body = {key: value for key, value in given.items() if value is not None}
        return _mapping(self._transport.json("PATCH", address_of(repo), body=body))

    def _ref(self, repo: str, kind: str, ref: str, rev: str) -> Ref:
        body = {"name": ref, "rev": rev}
        return Ref.read(_mapping(self._transport.json("POST", address_of(repo, f"/{kind}"), body=body)))

    # ---- moving files

    def pull(self, repo: str, rev: str = "main", to: str | Path | None = None, *, report: Report | None = None) -> Path:
        """A folder with the files of `repo` at `rev`, every sha256 checked; `repo` may be 'ns/name@rev'.

        The folder lies in the cache and is not to be written to; with `to` its files are copied there instead, each
        complete or not at all. When the hub is away, what `rev` last meant is taken from the cache, if it is there.
        """
        repo, rev = split_revision(repo, default=rev)
        try:
            tree = self.tree(repo, rev)
        except HubUnreachable:
            cached = self.cache.recall(repo, rev)
            if cached is None:
                raise
            return cached if to is None else _copy(cached, Path(to))
        _download.download(self._transport, self.cache, repo, tree, report=report)
        place = self.cache.snapshot(repo, tree)
        self.cache.remember(repo, rev, tree)
        return place if to is None else _copy(place, Path(to))

    def push(
        self,
        folder: str | Path,
        repo: str,
        message: str = "",
        kind: RepoKind | None = None,
        private: bool = False,
        *,
        branch: str = "main",
        report: Report | None = None,
    ) -> str:
        """Makes the folder's files the next commit of `repo` and returns its id. Creates the repository when new.

        kind    what the repository is; found from prior.json, composition.json or task.json in the folder, else plain
        branch  where the commit goes; a new one begins where main is

        Only files, and of large ones only chunks, that the hub lacks are sent, and nothing when `repo` already is what
        the folder is; the commit appears whole or not at all. A push that was killed sends the rest when it is begun
        again; of one that was refused nothing stays, a new repository neither. Hidden files stay here. Raises Conflict
        when somebody else pushed in between.
        """
        folder = Path(folder)
        files = _listed(folder)
        kind = kind or next((kind for marker, kind in _MARKERS.items() if marker in files), "plain")
        if kind == "task" and not split_repo(repo)[0]:
            repo = f"datasets/{repo}"  # what a hub takes a task for; a model of the same name is another repository
        hashes = {path: file_sha256(folder / path) for path in files}
        made = {"name": bare_name(repo), "kind": kind, "private": private}
        if type := split_repo(repo)[0]:
            made["type"] = type
        try:
            self._transport.json("POST", "/repos", body=made)
            new = True
        except Conflict:  # it exists; whether we may write to it the commit decides
            new = False
        try:
            return self._push(folder, hashes, repo, message, branch, report)
        except HubUnreachable:
            raise  # begun again, the push goes on in it
        except UserError:
            if new:  # nothing may come of it, and its name is free again
                with suppress(HubError):
                    self._transport.json("DELETE", address_of(repo), query={"only_empty": "true"})
            raise

    def _push(
        self, folder: Path, hashes: Mapping[str, str], repo: str, message: str, branch: str, report: Report | None
    ) -> str:
        """The commit of these files, in a repository that is there."""
        head = self._head(repo, branch)
        if head and {file.path: file.sha256 for file in head.files} == hashes:
            return head.commit
        wanted = sorted(set(hashes.values()))
        told = _mapping(self._transport.json("POST", "/blobs/missing", body={"sha256": wanted}))
        missing = set(told["missing"])
        by_hash = {sha256: folder / path for path, sha256 in hashes.items()}
        _upload.upload(
            self._transport,
            repo,
            [Outgoing(path, sha256, path.stat().st_size) for sha256, path in by_hash.items() if sha256 in missing],
            direct=bool(told.get("direct")),
            report=report,
            what=f"pushing {repo}",
        )
        answer = self._transport.json(
            "POST",
            address_of(repo, "/commits"),
            body={
                "message": message or f"Push {len(hashes)} files",
                "branch": branch,
                "parent": head.commit if head else None,
                "files": [{"path": path, "sha256": sha256} for path, sha256 in sorted(hashes.items())],
                "replace": True,
            },
        )
        return str(_mapping(answer)["oid"])

    def delete(self, repo: str) -> None:
        """Deletes the repository and its commits on the hub."""
        self._transport.json("DELETE", address_of(repo))

    def _head(self, repo: str, branch: str) -> Tree | None:
        """Where the branch is, or will begin; None while there is no commit."""
        try:
            return self.tree(repo, branch)
        except NotFound:
            if branch == "main":
                return None
        head = self._head(repo, "main")
        if head is not None:
            self.branch(repo, branch, head.commit)
        return head

    # ---- jobs

    def submit(
        self, kind: str, spec: Mapping[str, Any], *, again: bool = False, source_token: str | None = None
    ) -> Job:
        """Queues a job of this kind on the hub's workers. The same request gives the same job, unless `again`.

        source_token  what an import shows to the hub it copies from, for what is private or gated there
        """
        body = {"kind": kind, "spec": dict(spec), "again": again}
        if source_token is not None:
            body["source_token"] = source_token
        return Job.read(_mapping(self._transport.json("POST", "/jobs", body=body)))

    def job(self, job_id: str) -> Job:
        """The job as it stands now."""
        return Job.read(_mapping(self._transport.json("GET", f"/jobs/{_job_id(job_id)}")))

    def events(self, job_id: str, after: int = 0) -> Iterator[JobEvent]:
        """What the job reports, from event number `after` on until it has finished; outlives broken connections."""
        return _events.follow(self._transport, _job_id(job_id), after, job=lambda: self.job(job_id))

    def wait(self, job: Job | str, report: Report | None = None) -> Any:
        """The job's result once it is done. Raises the error it failed with; HubError when it was cancelled."""
        job_id = job if isinstance(job, str) else job.id
        for event in self.events(job_id):
            if report and "step" in event.data:
                of, message = int(event.data.get("of") or 0), str(event.data.get("message") or "")
                report(int(event.data["step"] or 0), of, message)
        ended = self.job(job_id)
        match ended.status:
            case "done":
                return ended.result
            case "failed":
                error = ended.error or {}
                detail = error.get("detail") or "the job failed without saying why. Ask the operator for its log."
                raise error_for(error.get("code", ""), detail)
            case status:
                raise HubError(f"job {job_id} is {status}. Submit it again if its result is still wanted.")

    def job_file(self, job: Job | str, to: str | Path) -> Path:
        """Writes the file a finished job made (the predictions of a `predict` job, as CSV) to `to`."""
        job_id = _job_id(job if isinstance(job, str) else job.id)
        place = Path(to)
        fresh = place.with_name(f".{place.name}.{os.getpid()}.part")
        try:
            with self._transport.stream("GET", f"/jobs/{job_id}/file") as answer, fresh.open("wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)
            fresh.replace(place)
        except OSError as error:
            raise HubError(f"{place} cannot be written: {error.strerror or error}. Choose another place.") from error
        finally:
            fresh.unlink(missing_ok=True)
        return place

    def cancel(self, job_id: str) -> Job:
        """Asks the job to stop at its next step."""
        return Job.read(_mapping(self._transport.json("POST", f"/jobs/{_job_id(job_id)}/cancel")))


def verify(folder: str | Path, tree: Tree) -> None:
    """Raises HubError naming the first files of the commit that are missing from the folder or differ."""
    bad = [
        f"{file.path} ({'differs' if (Path(folder) / file.path).is_file() else 'is missing'})"
        for file in tree.files
        if not (Path(folder) / file.path).is_file() or file_sha256(Path(folder) / file.path) != file.sha256
    ]
    if bad:
        raise HubError(f"{folder}: {', '.join(bad[:3])} and {max(0, len(bad) - 3)} more. Pull it again.")


def _listed(folder: Path) -> list[str]:
    """The folder's files as sorted relative paths, without hidden ones. Links that leave the folder are refused."""
    if not folder.is_dir():
        raise HubError(f"{folder} is not a folder. Give the folder that holds the files to push.")
    root = folder.resolve()
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place) / name
            if name.startswith("."):
                continue
            if not path.resolve().is_relative_to(root):
                raise HubError(f"{path} is a link that leads out of {folder}. Copy the file in, then push.")
            found.append(path.relative_to(folder).as_posix())
    if not found:
        raise HubError(f"{folder} holds no files. Put something in before pushing.")
    safe_paths(found)
    return sorted(found)


def _copy(place: Path, to: Path) -> Path:
    """Copies a snapshot's files over `to`, each renamed into place; other files there are left alone.

    A folder that was not there before is gone again when not all of them could be written.
    """
    new = not to.exists()
    for source in sorted(path for path in place.rglob("*") if path.is_file()):
        target = to / source.relative_to(place)
        fresh = target.with_name(f".{target.name[:100]}.{os.getpid()}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, fresh)
            fresh.replace(target)
        except OSError as error:
            if new:
                shutil.rmtree(to, ignore_errors=True)
            raise HubError(f"{target} cannot be written: {error.strerror or error}. Choose another folder.") from error
        finally:
            fresh.unlink(missing_ok=True)
    return to


def _mapping(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise HubError("the hub's answer is not what this client knows. Is its version the client's?")
    return answer


def _job_id(text: str) -> str:
    if not text or not all(char.isalnum() or char == "-" for char in text):
        raise NotFound(f"'{text[:80]}' is no job id. Take it from `hub.submit(...)` or the job's page.")
    return text
