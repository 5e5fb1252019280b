"""The commands that talk to a hub: find, look, fetch, publish, copy."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from composer._console import emit, printable, progress, table

if TYPE_CHECKING:
    from priors.client import Hub
    from priors.client.hub import Gate

app = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Url = Annotated[str | None, typer.Option("--url", help="The hub; PRIORHUB_URL or the last login otherwise.")]

Repo = Annotated[str, typer.Argument(help="namespace/name; datasets/ or spaces/ before it for one of those")]
Several = Annotated[list[str] | None, typer.Option(help="May be given again: any of them.")]
Private = Annotated[bool, typer.Option("--private", help="Visible to its owners alone.")]


def open_hub(url: str | None) -> Hub:
    """The hub at `url`, or the one that the environment or the last login names."""
    from priors.client import Hub

    return Hub(url)


@app.command()
def login(
    url: Annotated[str | None, typer.Option("--url", help="Address of the hub.")] = None,
    token: Annotated[str | None, typer.Option("--token", help="Token from the hub; asked for when left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remember a hub and its token, after asking the hub whose it is."""
    from priors.client import Hub
    from priors.client.config import resolve, save_login

    given = token or resolve(url).token or typer.prompt("Token", hide_input=True, err=True)
    with Hub(url, given) as hub:
        who = hub.whoami()
        path = save_login(hub.url, given)
    emit(
        {"url": hub.url, "name": who["name"], "scopes": who["scopes"], "file": str(path)},
        f"Logged in to {hub.url} as {who['name']} ({', '.join(who['scopes'])}). Saved in {path}.",
        as_json=as_json,
    )


@app.command()
def whoami(url: Url = None, as_json: AsJson = False) -> None:
    """Say whose token is in use, and at which hub."""
    with open_hub(url) as hub:
        who = hub.whoami()
        text = f"{who['name']} ({', '.join(who['scopes'])}) at {hub.url}"
        emit({"url": hub.url, **who}, text, as_json=as_json)


@app.command()
def search(
    words: Annotated[list[str] | None, typer.Argument(help="What to look for; everything when left out.")] = None,
    modality: Annotated[
        Literal["text", "image", "audio", "tab"] | None, typer.Option(help="What the prior takes.")
    ] = None,
    kind: Annotated[Literal["network", "function"] | None, typer.Option(help="What the prior is.")] = None,
    task: Several = None,
    language: Several = None,
    license: Several = None,
    tag: Several = None,
    may_sell: Annotated[bool, typer.Option("--may-sell", help="Its license permits selling.")] = False,
    may_fine_tune: Annotated[bool, typer.Option("--may-fine-tune", help="Its license permits fine-tuning.")] = False,
    takes: Annotated[list[str] | None, typer.Option(help="Head of a port type: text.ids. May be given again.")] = None,
    gives: Annotated[list[str] | None, typer.Option(help="Head of a port type: vec.feat. May be given again.")] = None,
    fits: Annotated[str | None, typer.Option(help="namespace/name of a prior that it can be strung to.")] = None,
    max_parameters: Annotated[float | None, typer.Option(min=0, help="Most parameters: 30e6.")] = None,
    max_mb: Annotated[float | None, typer.Option("--max-mb", min=0, help="Most megabytes.")] = None,
    min_score: Annotated[float | None, typer.Option(help="Least gain over no prior, in points.")] = None,
    sort: Annotated[
        Literal["relevance", "updated", "created", "downloads", "likes", "trending", "score"] | None,
        typer.Option(help="What comes first."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most results.")] = 20,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Search the hub's priors. Filters that are given again are alternatives; all different ones have to hold."""
    from dataclasses import asdict

    from priors.client.records import Filter

    may: list[Literal["sell", "fine-tune"]] = []
    may += ["sell"] if may_sell else []
    may += ["fine-tune"] if may_fine_tune else []
    where = Filter(
        task=tuple(task or ()), language=tuple(language or ()), license=tuple(license or ()), tag=tuple(tag or ()),
        may=may, takes=tuple(takes or ()), gives=tuple(gives or ()), fits=fits,
        max_parameters=max_parameters, max_size_bytes=None if max_mb is None else max_mb * 1e6, min_score=min_score,
    )  # fmt: skip
    with open_hub(url) as hub:
        found = hub.search(" ".join(words or []), modality=modality, kind=kind, where=where, sort=sort, limit=limit)
    rows = [(p.repo, p.modality, p.kind, round(p.size_bytes / 1e6, 1), p.license, p.summary[:60]) for p in found]
    text = table(("prior", "takes", "kind", "MB", "license", "summary"), rows)
    emit([asdict(listing) for listing in found], text if found else "Nothing found. Try fewer words.", as_json=as_json)


@app.command()
def show(
    repo: Annotated[str, typer.Argument(help="namespace/name[@rev]")], url: Url = None, as_json: AsJson = False
) -> None:
    """Describe a repository; for a prior its ports, taps and license."""
    with open_hub(url) as hub:
        found = hub.show(repo)
    manifest = found.get("manifest") or {}
    lines = [f"{found.get('name', repo)} · {found.get('kind')}", str(manifest.get("summary", ""))]
    lines += [f"  takes {port}: {kind}" for port, kind in manifest.get("inputs", {}).items()]
    lines += [f"  gives {tap}: {kind}" for tap, kind in manifest.get("taps", {}).items()]
    if manifest:
        lines.append(f"  license {manifest['license']['spdx']}, {manifest.get('parameters', 0):,} parameters")
    emit(found, printable("\n".join(line for line in lines if line)), as_json=as_json)


@app.command()
def pull(
    repo: Annotated[str | None, typer.Argument(help="namespace/name[@rev], datasets/namespace/name[@rev]")] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Copy the files here; otherwise they stay in the cache.")
    ] = None,
    lock: Annotated[
        Path | None, typer.Option("--lock", help="Fetch the priors of this lock, at the content it names.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a repository, or all priors of a lock, every file checked against its sha256."""
    if lock is not None:
        if repo is not None or to is not None:
            raise typer.BadParameter("it names what is pulled, into the cache", param_hint="--lock")
        _pull_lock(lock, url, as_json)
        return
    if repo is None:
        raise typer.BadParameter("name a repository, or a lock with --lock", param_hint="REPO")
    with open_hub(url) as hub, progress() as report:
        folder = hub.pull(repo, to=to, report=report)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    emit({"repo": repo, "folder": str(folder), "files": files}, str(folder), as_json=as_json)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="The folder to publish.")],
    repo: Annotated[str, typer.Argument(help="namespace/name, or datasets/namespace/name; made when new")],
    message: Annotated[str, typer.Option("--message", "-m", help="What changed.")] = "",
    kind: Annotated[
        Literal["prior", "composition", "task", "plain"] | None,
        typer.Option(help="What it is; found from the files when left out."),
    ] = None,
    private: Private = False,
    branch: Annotated[str, typer.Option("--branch", help="Where the commit goes; begins at main when new.")] = "main",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Publish a folder as the next commit of a repository. Begun again after an interruption, it sends the rest."""
    with open_hub(url) as hub, progress() as report:
        oid = hub.push(folder, repo, message, kind, private, branch=branch, report=report)
        said = {"repo": repo, "branch": branch, "commit": oid, "url": hub.url}
        emit(said, f"{repo} is now at {oid}" + ("" if branch == "main" else f" on {branch}"), as_json=as_json)


@app.command()
def refs(repo: Repo, url: Url = None, as_json: AsJson = False) -> None:
    """List the branches and tags of a repository."""
    with open_hub(url) as hub:
        found = hub.refs(repo)
    rows = [(ref.kind, ref.name, ref.commit) for ref in found]
    emit([vars(ref) for ref in found], table(("what", "name", "commit"), rows), as_json=as_json)


@app.command()
def branch(
    repo: Repo,
    name: Annotated[str, typer.Argument(help="What it is called.")],
    rev: Annotated[str, typer.Option("--rev", help="Where it begins.")] = "main",
    delete: Annotated[bool, typer.Option("--delete", help="Take it away; its commits stay.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Begin a branch, or take one away."""
    _name_commit("branch", repo, name, rev, delete, url, as_json)


@app.command()
def tag(
    repo: Repo,
    name: Annotated[str, typer.Argument(help="What it is called.")],
    rev: Annotated[str, typer.Option("--rev", help="Which commit it names.")] = "main",
    delete: Annotated[bool, typer.Option("--delete", help="Take it away.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Name a commit for good, or take such a name away."""
    _name_commit("tag", repo, name, rev, delete, url, as_json)


@app.command()
def move(
    repo: Repo,
    to: Annotated[str, typer.Argument(help="namespace/name it is to have")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Give a repository another name; the old one leads to it."""
    with open_hub(url) as hub:
        hub.move(repo, to)
    emit({"repo": to, "was": repo}, f"{repo} is called {to} now", as_json=as_json)


@app.command()
def settings(
    repo: Repo,
    private: Annotated[bool | None, typer.Option("--private/--public", help="Who sees it.")] = None,
    gated: Annotated[
        Literal["auto", "manual", "off"] | None, typer.Option(help="Whether its files have to be asked for.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="One line about it.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show a repository's settings, or change those that are given."""
    gate: Gate | None = "" if gated == "off" else gated
    with open_hub(url) as hub:
        found = hub.settings(repo, private=private, gated=gate, description=description)
    shown = {key: found.get(key) for key in ("name", "kind", "private", "gated", "description")}
    emit(shown, printable("\n".join(f"{key}: {value}" for key, value in shown.items())), as_json=as_json)


@app.command()
def delete(
    repo: Repo,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Delete a repository for good; nobody gets its name again."""
    if not yes:
        typer.confirm(f"Delete {repo} with all its commits?", abort=True, err=True)
    with open_hub(url) as hub:
        hub.delete(repo)
    emit({"deleted": repo}, f"{repo} is deleted", as_json=as_json)


@app.command(name="import")
def import_(
    source: Annotated[str, typer.Argument(help="hf:org/name; the hub lists which sources it copies from")],
    to: Annotated[str | None, typer.Option("--to", help="namespace/name here; your own namespace otherwise.")] = None,
    rev: Annotated[str | None, typer.Option("--rev", help="Branch, tag or commit there; the newest otherwise.")] = None,
    type: Annotated[Literal["model", "dataset"], typer.Option("--type", help="What it is there.")] = "model",
    private: Private = False,
    ask_token: Annotated[
        bool, typer.Option("--ask-token", help="Ask for a token of that hub, or read it from a pipe.")
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Copy a repository of another hub to this one, with its card, license and commit.

    What is private or gated there needs a token of that hub, from PRIORHUB_SOURCE_TOKEN or --ask-token: never from the
    command line, where every user of the machine could read it. The copy is private then.
    """
    token = _source_token(ask_token)
    with open_hub(url) as hub:
        name = to or f"{hub.whoami()['name']}/{source.partition(':')[2].rpartition('/')[2]}"
        spec = {"source": source, "push_to": name, "rev": rev, "type": type, "private": private}
        job = hub.submit("import", spec, again=True, source_token=token)
        with progress() as report:
            result = hub.wait(job, report=report)
    text = f"{source} copied to {result['repo']}: {result['files']} files at {result['source_commit']}"
    text += "".join(f"\nLeft out: {why}" for why in result["skipped"].values())
    emit({"source": source, "job": job.id, **result}, printable(text), as_json=as_json)


def _name_commit(
    kind: Literal["branch", "tag"], repo: str, name: str, rev: str, delete: bool, url: str | None, as_json: bool
) -> None:
    """Makes a branch or a tag, or takes it away."""
    with open_hub(url) as hub:
        if delete:
            (hub.delete_branch if kind == "branch" else hub.delete_tag)(repo, name)
            emit({"repo": repo, "deleted": name}, f"{repo} has no {kind} {name} any more", as_json=as_json)
            return
        made = (hub.branch if kind == "branch" else hub.tag)(repo, name, rev)
    means = "begins at" if kind == "branch" else "names"
    emit({"repo": repo, **vars(made)}, f"{repo}: {kind} {name} {means} {made.commit}", as_json=as_json)


def _source_token(ask: bool) -> str | None:
    if not ask:
        return os.environ.get("PRIORHUB_SOURCE_TOKEN") or None
    if sys.stdin.isatty():
        return str(typer.prompt("Token of the source", hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()


def _pull_lock(lock: Path, url: str | None, as_json: bool) -> None:
    from composer.audit import pull_locked, read_lock
    from priors.client import HubLibrary

    wanted = read_lock(lock)
    with open_hub(url) as hub, progress() as report:
        found = pull_locked(wanted, HubLibrary(hub, report=report))
    rows = [(finding.ref, finding.folder) for finding in found]
    emit([vars(finding) for finding in found], table(("prior", "folder"), rows), as_json=as_json)


def audit_cache(as_json: bool) -> None:
    """Hashes everything that was pulled, and says what is no longer what it was. Exit 1 when something is not."""
    from priors.client import Cache

    cache = Cache()
    found = cache.audit()
    text = f"{cache.root}: {found.blobs:,} files, {found.size_bytes / 1e6:,.1f} MB, {found.snapshots:,} commits; "
    text += "all as they were pulled" if not found.damaged else "DAMAGED: " + ", ".join(found.damaged)
    emit({"cache": str(cache.root), **vars(found)}, printable(text), as_json=as_json)
    if found.damaged:
        raise typer.Exit(1)


def audit_lock(folder: Path, offline: bool, url: str | None, as_json: bool) -> None:
    """What became of the priors of a lock. Exit 1 when one is damaged, missing, gone or held back."""
    from composer.audit import BROKEN, audit, read_lock
    from priors.client import HubLibrary

    found = audit(read_lock(folder), HubLibrary(None if offline else open_hub(url)))
    rows = [(finding.ref, finding.state, finding.detail) for finding in found]
    emit([vars(finding) for finding in found], table(("prior", "state", "what"), rows), as_json=as_json)
    if any(finding.state in BROKEN for finding in found):
        raise typer.Exit(1)
