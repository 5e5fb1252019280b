"""Search, facets and lists of a real hub over HTTP: p50 and p95 for 1,000, 10,000 and 100,000 generated repositories.

    python -m benchmarks catalog [--rows 1000 10000 100000] [--seconds 10] [--clients 8]

The hub is gunicorn as `manage.py up` starts it, on SQLite in a temporary folder, or on DATABASE_URL, whose database
must be empty and is left filled. Clients are threads of one other process on the same machine, each waiting for its
answer before it asks again; so the numbers hold what asking costs, too. Every request is drawn anew: words by how often
they occur, one or two facets, a range, a mistyped word one time in twenty.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from urllib.parse import quote, urlencode

ROOT = Path(__file__).resolve().parent.parent
TASKS = [
    "fill-mask",
    "text-classification",
    "image-classification",
    "feature-extraction",
    "automatic-speech-recognition",
]
LICENSES = ["apache-2.0", "mit", "cc-by-nc-4.0", "gpl-3.0", "llama3"]


def main(argv: list[str]) -> None:
    """Prints the table. The same program, called with a first argument of its own, fills a database or asks a hub."""
    if argv[:1] == ["_fill"]:
        fill(int(argv[1]), int(argv[2]))
        return
    if argv[:1] == ["_ask"]:
        ask(int(argv[1]), float(argv[2]), int(argv[3]))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks catalog", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=10.0, help="a kind of request")
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="priorhub-bench-") as folder:
        env = {**os.environ, "PRIORHUB_HOME": folder, "DJANGO_SETTINGS_MODULE": "hub.settings", "PYTHONPATH": str(ROOT)}
        env.setdefault("SECRET_KEY", "only for this benchmark")
        env |= {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
        env["RATE_API"] = "1000000/1"  # the clients share an address
        for command in ("migrate", "collectstatic"):
            subprocess.run([sys.executable, "manage.py", command, "--noinput", "-v0"], cwd=ROOT, env=env, check=True)
        rows: list[list[str]] = []
        for there, wanted in pairwise([0, *options.rows]):
            _run(["_fill", str(there), str(wanted)], env)
            rows += measure(wanted, options.clients, options.seconds, env)
        database = "PostgreSQL" if "DATABASE_URL" in os.environ else "SQLite"
        print(f"\n{database}, {options.clients} clients, {len(os.sched_getaffinity(0))} cores, gunicorn 2 x 32 threads")
        for row in [["rows", "request", "p50 ms", "p95 ms", "requests/s"], *rows]:
            print(f"  {row[0]:>8}  {row[1]:<18} {row[2]:>7} {row[3]:>7} {row[4]:>11}")


def measure(rows: int, clients: int, seconds: float, env: dict[str, str]) -> list[list[str]]:
    """Starts a hub, asks it, stops it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    command = [
        sys.executable, "-m", "gunicorn", "hub.wsgi:application", "--bind", f"127.0.0.1:{port}", "--worker-class",
        "gthread", "--workers", "2", "--threads", "32", "--log-level", "error", "--no-control-socket",
    ]  # fmt: skip
    hub = subprocess.Popen(command, cwd=ROOT, env=env)
    try:
        _wait(port)
        out = _run(["_ask", str(port), str(seconds), str(clients)], env)
    finally:
        hub.terminate()
        hub.wait()
    return [[f"{rows:,}", *line.split("\t")] for line in out.splitlines()]


def ask(port: int, seconds: float, clients: int) -> None:
    """One line a kind of request: its name, p50 and p95 in ms, requests a second."""
    for name, make in KINDS.items():
        for timed in (min(8.0, seconds), seconds):  # the first is to warm up: each process reads its columns once
            times = _load(port, timed, clients, make)
        cuts = quantiles(times, n=100)
        print(f"{name}\t{cuts[49] * 1000:.0f}\t{cuts[94] * 1000:.0f}\t{len(times) / seconds:.0f}")


def _load(port: int, seconds: float, clients: int, make: Callable[[random.Random], str]) -> list[float]:
    until = time.perf_counter() + seconds

    def client(number: int) -> list[float]:
        times: list[float] = []
        draw, connection = random.Random(f"{seconds}{number}"), http.client.HTTPConnection("127.0.0.1", port)
        while time.perf_counter() < until:
            address = make(draw)
            began = time.perf_counter()
            connection.request("GET", address)
            response = connection.getresponse()
            response.read()
            times.append(time.perf_counter() - began)
            if response.status != 200:
                raise SystemExit(f"{address} answered {response.status}")
        return times

    with ThreadPoolExecutor(clients) as pool:
        return [one for each in pool.map(client, range(clients)) for one in each]


# ── what is asked ───────────────────────────────────────────────────────────────────────────────────────────────────


def word(draw: random.Random) -> str:
    """One of 20,000 made-up words: the most common stands in 40 % of the texts, half of them in less than 0.2 %."""
    return spelled(min(19_999, int(50 * (draw.paretovariate(1.0) - 1))))


def spelled(number: int) -> str:
    """The word of a number: pronounceable, and different for each."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    text = ""
    for _ in range(3):
        number, rest = divmod(number * 31 + 7, len(syllables))
        text += syllables[rest]
    return text + syllables[number % len(syllables)]


def _words(draw: random.Random) -> str:
    chosen = [word(draw) for _ in range(draw.choice([1, 1, 2]))]
    if draw.random() < 0.1:
        chosen.append(draw.choice(["text", "image", "network", "classification"]))  # in every second text or so
    if draw.random() < 0.05:
        at = draw.randrange(1, len(chosen[0]) - 1)
        chosen[0] = chosen[0][:at] + draw.choice("xqwj") + chosen[0][at + 1 :]
    return " ".join(chosen)


def _search(draw: random.Random) -> str:
    return f"/api/v1/priors?q={quote(_words(draw))}&limit=24"


def _list(draw: random.Random) -> str:
    asked = [("sort", draw.choice(["downloads", "likes", "updated", "created", "trending"])), ("limit", "24")]
    asked += [(key, value) for key, value in _filters(draw) if key in ("task", "license", "library")]
    return f"/api/v1/priors?{urlencode(asked)}"


def _page(draw: random.Random) -> str:
    asked = _filters(draw)
    if draw.random() < 0.5:
        asked.append(("q", _words(draw)))
    if draw.random() < 0.2:
        asked += [("parameters_min", "1M"), ("parameters_max", "200M")]
    if draw.random() < 0.1:
        asked.append(("with", "n0/r0"))
    return f"/priors?{urlencode(asked)}"


def _filters(draw: random.Random) -> list[tuple[str, str]]:
    choices = [
        ("task", draw.choice(TASKS)), ("may", "sell"), ("kind", "network"), ("library", f"library{draw.randrange(8)}"),
        ("license", "MIT"), ("modality", draw.choice(["text", "image"])), ("tag", spelled(draw.randrange(40))),
    ]  # fmt: skip
    return draw.sample(choices, draw.choice([0, 1, 1, 2]))


KINDS = {"list": _list, "search": _search, "page with facets": _page}


# ── what there is ───────────────────────────────────────────────────────────────────────────────────────────────────


def fill(there: int, wanted: int) -> None:
    """Adds generated repositories number `there` to `wanted`, through the catalogue's own rules for terms and words."""
    import django

    django.setup()
    from django.db import transaction

    for start in range(there, wanted, 2_000):
        with transaction.atomic():
            _add(range(start, min(start + 2_000, wanted)))


def _add(numbers: range) -> None:
    from datetime import UTC, datetime, timedelta

    from django.db import connection

    from hub.catalog import terms, words
    from hub.catalog.models import Item, Revision, Word
    from hub.repos.models import Namespace, Repository
    from priors import licenses

    spaces = {n // 50 for n in numbers}
    Namespace.objects.bulk_create([Namespace(name=f"n{n}") for n in spaces], ignore_conflicts=True)
    namespaces = {one.name: one for one in Namespace.objects.filter(name__in=[f"n{n}" for n in spaces])}
    revision, _ = Revision.objects.get_or_create(pk=1)
    revision.value += 1
    revision.save()
    day = datetime(2026, 1, 1, tzinfo=UTC)
    repositories, items = [], []
    for number in numbers:
        draw = random.Random(number)
        space = namespaces[f"n{number // 50}"]
        name = f"r{number}" if number == 0 else f"{word(draw)}-{word(draw)}-{number}"
        one = Repository(namespace=space, name=name, kind="prior", private=number % 50 == 49)
        one.created_at = one.updated_at = day + timedelta(minutes=number)
        width, modality = draw.choice([256, 384, 512, 768, 1024]), draw.choice(["text", "text", "image", "tab"])
        port = {"text": "text.ids[B,T]:i64", "image": "image.pixels[B,C:3,H:224,W:224]:f32", "tab": "tab.num[B,C]:f32"}
        tags = [spelled(min(1_999, int(draw.paretovariate(0.7)) - 1)) for _ in range(6)]
        spdx = licenses.normalise(draw.choice(LICENSES))
        may = licenses.permissions(spdx)
        item = Item(
            repository=one, revision=revision.value, derivation=Item.DERIVATION, identity=f"sha256:{number:064x}",
            manifest={"inputs": {"x": port[modality]}, "taps": {"out": f"vec.feat[B,D:{width}]:f32"}},
            kind=draw.choice(["network", "function"]), modality=modality, default_tap="out",
            task=draw.choice(TASKS), library=f"library{draw.randrange(8)}", languages=[draw.choice(["en", "de", "fr"])],
            license=spdx, may_sell=may.sell, may_fine_tune=may.fine_tune, tags=tags, dtypes={"F32": width},
            summary=" ".join(word(draw) for _ in range(25)), parameters=int(10 ** draw.uniform(4, 10)),
            size_bytes=int(10 ** draw.uniform(5, 11)), downloads=int(draw.paretovariate(0.6)) % 10_000_000,
            likes=int(draw.paretovariate(0.8)) % 100_000, trending=draw.random(), score=draw.gauss(3, 2),
            created_at=one.created_at, updated_at=one.updated_at,
        )  # fmt: skip
        item.terms, item.search_text = terms.terms_of(item), terms.text_of(item)
        repositories.append(one)
        items.append(item)
    Repository.objects.bulk_create(repositories, batch_size=500)
    Item.objects.bulk_create(items, batch_size=500)
    known: set[str] = set()
    for item in Item.objects.filter(repository__in=repositories).select_related("repository__namespace"):
        name, text = terms.indexed(item.repository.full_name), terms.indexed(item.search_text)
        words.index().put(item.pk, name, text)
        known |= {one for one in [*name.split(), *text.split()] if len(one) > 3 and not one.isdecimal()}
    Word.objects.bulk_create([Word(text=one) for one in sorted(known)], ignore_conflicts=True, batch_size=500)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE catalog_item; ANALYZE catalog_text; ANALYZE catalog_word; ANALYZE repos_repository")


def _run(arguments: list[str], env: dict[str, str]) -> str:
    command = [sys.executable, "-m", "benchmarks.catalog", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def _wait(port: int) -> None:
    for _ in range(300):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("gunicorn did not start within 30 s; see its message above.")


if __name__ == "__main__":
    main(sys.argv[1:])
