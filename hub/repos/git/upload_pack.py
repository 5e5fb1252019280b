"""What git-upload-pack says over HTTP: which refs there are, and the pack a client lacks.

Each request carries everything (git, Documentation/gitprotocol-http: stateless), so no state is kept between two.
Version 2 is what git speaks since 2.26 (gitprotocol-v2); version 0 is for older ones and libraries (gitprotocol-pack).
Raises BadRequest for what is not this protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from hub.errors import BadRequest
from hub.repos.commits import MAIN
from hub.repos.git.packing import contents, pack
from hub.repos.git.pktline import DELIMITER, FLUSH, Special, band, line, read
from hub.repos.git.selection import Ask, Selected, select
from hub.repos.models import Ref, Repository
from hub.safety.holds import servable

_PREFIX = {Ref.Kind.BRANCH: "refs/heads/", Ref.Kind.TAG: "refs/tags/", Ref.Kind.PULL: ""}
_V0 = "multi_ack_detailed no-done side-band-64k thin-pack ofs-delta shallow no-progress include-tag object-format=sha1"
_AGENT = "agent=priorhub"
_MAX_WANTS = 10_000
_HASHES_A_QUERY = 5_000


def advertise(repository: Repository, *, version: int) -> Iterator[bytes]:
    """The answer to `info/refs`: what the server can do, and in version 0 the refs."""
    yield line("# service=git-upload-pack\n") + FLUSH
    if version == 2:
        yield from map(
            line, ["version 2\n", f"{_AGENT}\n", "ls-refs=unborn\n", "fetch=shallow\n", "object-format=sha1\n"]
        )
        yield FLUSH
        return
    refs = refs_of(repository)
    able = f"{_V0} {_AGENT}"
    if "HEAD" in refs:
        able += f" symref=HEAD:refs/heads/{MAIN}"
    for number, (name, oid) in enumerate((refs or {"capabilities^{}": "0" * 40}).items()):
        yield line(f"{oid} {name}\0{able}\n" if number == 0 else f"{oid} {name}\n")
    yield FLUSH


def answer(repository: Repository, body: bytes, *, version: int) -> Iterator[bytes]:
    """The answer to a request of either version. What is wrong with it is raised before the first piece."""
    if version == 2:
        return _command(repository, list(read(body)))
    return _fetch_0(repository, list(read(body)))


def refs_of(repository: Repository) -> dict[str, str]:
    """Every ref with its commit; HEAD first, which is main."""
    rows = repository.refs.values_list("kind", "name", "commit__oid")
    refs = {f"{_PREFIX[Ref.Kind(kind)]}{name}": oid for kind, name, oid in rows}
    head = refs.get(f"refs/heads/{MAIN}")
    return ({"HEAD": head} if head else {}) | dict(sorted(refs.items()))


def _command(repository: Repository, lines: list[bytes | Special]) -> Iterator[bytes]:
    if not lines or lines == [Special.FLUSH]:
        return iter(())
    words = [each for each in lines if isinstance(each, bytes)]
    at = lines.index(Special.DELIMITER) if Special.DELIMITER in lines else len(lines)
    arguments = [each.decode(errors="replace") for each in lines[at + 1 :] if isinstance(each, bytes)]
    match words[:1]:
        case [b"command=ls-refs"]:
            return _ls_refs(repository, arguments)
        case [b"command=fetch"]:
            return _fetch_2(repository, arguments)
    raise BadRequest("This hub knows the commands ls-refs and fetch.")


def _ls_refs(repository: Repository, arguments: list[str]) -> Iterator[bytes]:
    prefixes = tuple(each.removeprefix("ref-prefix ") for each in arguments if each.startswith("ref-prefix "))
    refs = refs_of(repository)
    if "HEAD" not in refs and "unborn" in arguments and "HEAD".startswith(prefixes or ("",)):
        yield line(f"unborn HEAD symref-target:refs/heads/{MAIN}\n")
    for name, oid in refs.items():
        if not prefixes or name.startswith(prefixes):
            symref = f" symref-target:refs/heads/{MAIN}" if name == "HEAD" and "symrefs" in arguments else ""
            yield line(f"{oid} {name}{symref}\n")
    yield FLUSH


def _fetch_2(repository: Repository, arguments: list[str]) -> Iterator[bytes]:
    ask = _ask(arguments)
    if not ask.wants:
        raise BadRequest("The fetch wants nothing.")
    selected = select(repository, ask)
    acknowledged: list[bytes] = []
    if not ask.done:
        ready = bool(selected.common) and selected.is_bounded
        acknowledged = [line("acknowledgments\n"), *(line(f"ACK {oid}\n") for oid in selected.common)]
        acknowledged += [] if selected.common else [line("NAK\n")]
        if not ready:
            return iter([*acknowledged, FLUSH])
        acknowledged += [line("ready\n"), DELIMITER]
    edge = [line("shallow-info\n"), *_edge(selected), DELIMITER] if ask.depth is not None or ask.shallow else []
    sent = _banded(repository, selected, progress="no-progress" not in arguments)
    return chain(acknowledged, edge, [line("packfile\n")], sent, [FLUSH])


def _fetch_0(repository: Repository, lines: list[bytes | Special]) -> Iterator[bytes]:
    words, able = [], set()
    for number, each in enumerate(lines):
        if isinstance(each, bytes):
            text = each.decode(errors="replace")
            if number == 0 and text.startswith("want "):
                able = set(text.split()[2:])
                text = " ".join(text.split()[:2])
            words.append(text)
    ask = _ask(words)
    if not ask.wants:
        return iter(())
    selected = select(repository, ask)
    edge = [*_edge(selected), FLUSH] if ask.depth is not None else []
    if not ask.done and not ask.haves:
        # Only the first part of the talk: what of the history there will be.
        return iter(edge if edge else [line("NAK\n")])
    last = selected.common[-1] if selected.common else None
    if "multi_ack_detailed" in able:
        said = [line(f"ACK {oid} common\n") for oid in selected.common]
        ready = last is not None and selected.is_bounded
        if not ask.done:
            said += [line(f"ACK {last} ready\n")] if ready else []
            said.append(line("NAK\n"))
            if not (ready and "no-done" in able):
                return iter([*edge, *said])
        said.append(line(f"ACK {last}\n" if last else "NAK\n"))
    else:
        said = [line(f"ACK {selected.common[0]}\n" if selected.common else "NAK\n")]
        if not ask.done:
            return iter([*edge, *said])
    if "side-band-64k" in able:
        return chain(edge, said, _banded(repository, selected, progress="no-progress" not in able), [FLUSH])
    return chain(edge, said, _packed(repository, selected)[1])


def _ask(arguments: list[str]) -> Ask:
    ask = Ask()
    lists = {"want": ask.wants, "have": ask.haves, "shallow": ask.shallow}
    for each in arguments:
        name, _, value = each.partition(" ")
        match name:
            case "want" | "have" | "shallow":
                if len(value) != 40 or set(value) - set("0123456789abcdef"):
                    raise BadRequest(f"{value[:60]!r} is no object id.")
                lists[name].append(value)
            case "deepen":
                if not (value.isascii() and value.isdecimal() and len(value) < 11) or not 0 < int(value) < 2**31:
                    raise BadRequest(f"A depth of {value[:20]!r} does not exist.")
                ask.depth = int(value)
            case "deepen-relative":
                ask.relative = True
            case "deepen-since" | "deepen-not":
                raise BadRequest("This hub cuts a history at a depth (--depth), not at a date or a branch.")
            case "done":
                ask.done = True
    if len(ask.wants) > _MAX_WANTS:
        raise BadRequest(f"A fetch may want {_MAX_WANTS} commits at once.")
    return ask


def _edge(selected: Selected) -> list[bytes]:
    return [
        *(line(f"shallow {oid}\n") for oid in selected.shallow),
        *(line(f"unshallow {oid}\n") for oid in selected.unshallow),
    ]


def _packed(repository: Repository, selected: Selected) -> tuple[int, Iterator[bytes]]:
    """How many objects, and the pack. Raises what `servable` raises for files that may not leave."""
    what = contents(selected)
    whole = [file.sha256 for file in what.files if not file.lfs]
    servable(repository)
    for start in range(0, len(whole), _HASHES_A_QUERY):
        servable(repository, whole[start : start + _HASHES_A_QUERY])
    return len(what), pack(what)


def _banded(repository: Repository, selected: Selected, *, progress: bool) -> Iterator[bytes]:
    number, pieces = _packed(repository, selected)
    said = band(2, [f"{number} objects, large files as pointers (git lfs pull fetches them).\n".encode()])
    return chain(said if progress else (), band(1, pieces))
