"""The commands that read a lock: what its licenses mean, who is paid what, what it is made of, what differs."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from composer._cli_hub import AsJson, Url, open_hub
from composer._console import emit, table

if TYPE_CHECKING:
    from composer.license import Verdict
    from composer.lock import Lock
    from priors.library import Library

app = typer.Typer()

Local = Annotated[
    Path | None,
    typer.Option("--library", help="Take priors from this folder (<namespace>/<name>/) and not from a hub."),
]
Offline = Annotated[bool, typer.Option("--offline", help="Use only priors that were pulled before.")]
What = Annotated[Path, typer.Argument(help="A fitted model's folder, a lock, or a composition.yaml or .json.")]


def open_library(folder: Path | None, offline: bool, url: str | None, report: Any = None) -> Library:
    """Where a command takes priors from: a folder, the local cache alone, or a hub with the cache."""
    from priors.client import HubLibrary
    from priors.errors import UnknownPrior
    from priors.library import LocalLibrary

    if folder is not None:
        if not folder.is_dir():
            raise UnknownPrior(
                f"the library {folder} is not a folder. Give one that holds <namespace>/<name>/prior.json."
            )
        return LocalLibrary(folder)
    return HubLibrary(None if offline else open_hub(url), report=report)


@app.command()
def license(
    what: What,
    sell: Annotated[bool, typer.Option("--sell", help="It is sold, or used to earn money.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="It stays with you: no file goes out.")] = False,
    notice: Annotated[Path | None, typer.Option("--notice", help="Write the text of NOTICE into this file.")] = None,
    library: Local = None,
    offline: Offline = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Say whether the licenses of all parts go together for a use, and what has to be kept. Exit 1 when not."""
    from composer.license import Use, judge
    from composer.license import notice as notice_text
    from composer.license_texts import from_library, texts

    lock, resolve = _lock(what, library, offline, url)
    verdict = judge(lock, Use(sell=sell, share=not keep), resolve)
    if notice is not None:
        beside = from_library(open_library(library, offline=True, url=url))  # no weights are fetched for their license
        write(notice, notice_text(lock.name, verdict, texts(verdict, beside)), "--notice")
    emit(
        {
            "allowed": verdict.allowed,
            "license": verdict.license,
            "unknown": list(verdict.unknown),
            "conflicts": [asdict(conflict) for conflict in verdict.conflicts],
            "obligations": [asdict(obligation) for obligation in verdict.obligations],
        },
        _verdict_text(lock, verdict),
        as_json=as_json,
    )
    if verdict.allowed is not True:
        raise typer.Exit(1)


def _verdict_text(lock: Lock, verdict: Verdict) -> str:
    said = {True: "allowed", False: "not allowed", None: "not known"}[verdict.allowed]
    lines = [f"{lock.name}: {said}. As a whole under {verdict.license or 'no license of others'}.", ""]
    rows = [(part.name, part.license or "not stated", part.path) for part in dict.fromkeys(verdict.parts)]
    lines += [table(("part", "license", "used"), rows), ""]
    lines += [f"conflict ({conflict.code}): {conflict}" for conflict in verdict.conflicts]
    if verdict.unknown:
        lines.append(f"no answer in the texts known here, ask: {', '.join(verdict.unknown)}")
    lines += [f"- {obligation.text} [{', '.join(obligation.priors)}]" for obligation in verdict.obligations]
    return "\n".join(lines)


@app.command()
def royalty(
    what: What,
    price: Annotated[float, typer.Option("--price", min=0, help="What it is sold for, in units with cents.")],
    cap_bp: Annotated[
        int, typer.Option("--cap-bp", min=0, max=10_000, help="At most so much for all priors together, of 10000.")
    ] = 5_000,
    library: Local = None,
    offline: Offline = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Deal a price out among the priors and whoever sells the composition, to the cent."""
    from composer.royalty import split

    lock, _ = _lock(what, library, offline, url)
    found = split(lock, round(price * 100), cap_bp)
    rows: list[tuple[str, object, object]] = [(s.ref, s.fee_bp, f"{s.cents / 100:.2f}") for s in found.shares]
    rows.append(("whoever sells it", "", f"{found.own / 100:.2f}"))
    emit(
        {
            "price_cents": found.price,
            "own_cents": found.own,
            "capped": found.capped,
            "shares": [
                {"prior": s.ref, "fee_bp": s.fee_bp, "due_bp": float(s.due_bp), "cents": s.cents} for s in found.shares
            ],
        },
        table(("who", "asks (bp)", "gets"), rows) + ("\nThe cap made the shares smaller." if found.capped else ""),
        as_json=as_json,
    )


@app.command()
def sbom(
    what: What,
    out: Annotated[Path | None, typer.Option("--out", help="Write it there; printed otherwise.")] = None,
    library: Local = None,
    offline: Offline = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write the bill of materials as CycloneDX 1.6 JSON."""
    import json

    from composer.license import judge
    from composer.sbom import bill

    lock, _ = _lock(what, library, offline, url)
    document = bill(lock, judge(lock))
    if out is None:
        emit(document, "", as_json=True)
    else:
        write(out, json.dumps(document, indent=1, ensure_ascii=False) + "\n", "--out")
        emit({"sbom": str(out)}, f"{out}: {len(document['components'])} components", as_json=as_json)


@app.command()
def diff(
    first: What,
    second: Annotated[Path, typer.Argument(help="The other one.")],
    library: Local = None,
    offline: Offline = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Say what differs between two compositions, by content: nodes, attributes, prices, learned parameters."""
    from composer.diff import diff_folders

    found = diff_folders(first, second, lambda path: _lock(path, library, offline, url)[0])
    lines = [f"+ {name}" for name in found.added] + [f"- {name}" for name in found.removed]
    lines += [f"{before} is called {after} now" for before, after in found.renamed]
    lines += [
        f"{change.node}: {key} {before!r} -> {after!r}"
        for change in found.changed
        for key, (before, after) in change.what.items()
    ]
    lines += [f"{name} only in {first}" for name in found.only_first]
    lines += [f"{name} only in {second}" for name in found.only_second]
    lines += [
        f"{drift.tensor}: differs by {drift.relative:.2g} of its norm, {drift.largest:.2g} at most"
        for drift in found.weights
    ]
    if not lines:
        lines = ["no difference" if found.same_model else "the same graph, fitted to other parameters"]
    emit({**asdict(found), "nothing": found.nothing}, "\n".join(lines), as_json=as_json)


def _lock(what: Path, library: Path | None, offline: bool, url: str | None) -> tuple[Lock, Any]:
    """The lock of a folder, a lock file or a specification; with the latter, or a library named, also its manifests."""
    from composer.audit import read_lock
    from composer.lock import Lock

    if what.is_dir() or (what.suffix == ".json" and not _is_graph(what)):
        if library is None:
            return read_lock(what), None
        from composer.nested import resolver

        return read_lock(what), resolver(open_library(library, offline, url))
    from composer.check import check
    from composer.graph import Graph
    from composer.nested import resolver

    resolve = resolver(open_library(library, offline, url))
    return Lock.of(check(Graph.load(what), resolve)), resolve


def _is_graph(path: Path) -> bool:
    """Whether a JSON file begins as a composition does, and not as a lock."""
    from composer.graph import Graph
    from priors.errors import UserError

    try:
        Graph.load(path)
    except UserError:
        return False  # whatever is wrong with it is said by who reads locks
    return True


def write(path: Path, text: str, option: str = "--out") -> None:
    """Writes what a command was asked for, all of it or nothing. Raises BadGraph naming the option when it cannot."""
    from composer.errors import BadGraph

    fresh = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise BadGraph(f"{path} cannot be written: {error.strerror}. Choose another place with {option}.") from error
