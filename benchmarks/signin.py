"""Whether the time a failed sign-in takes tells if the name is known.

    python -m benchmarks signin [--tries 10000] [--iterations 1000] [--clock cpu]

Every round tries each kind of name once with a wrong password, in an order drawn anew, through the whole of /login in
this process: no network is in the way, so a difference shows that a caller far away would have to average for. The
password hash is most of the time and is the same for all, so `--iterations` makes it short: what differs beside it then
stands out. 0 keeps the hasher as it is (a third of a second and more a try). The interval of a ratio is from resampled
rounds.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FIRST = "unknown name"
LIMIT_MS, LIMIT_P = 2.0, 0.01
"""What is asked of known against unknown: medians this close, and no Kolmogorov-Smirnov p below this."""
_RIGHT, _WRONG = "a password of their own", "not the password at all"


def main(argv: list[str]) -> None:
    """Prints the table. Called with a first argument of its own it measures, in a process with a hub's settings."""
    if argv[:1] == ["_measure"]:
        measure(int(argv[1]), int(argv[2]), cpu=argv[3] == "cpu")
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks signin", description=__doc__)
    parser.add_argument("--tries", type=int, default=10_000, help="of all kinds together")
    parser.add_argument("--iterations", type=int, default=1_000, help="of PBKDF2; 0: as many as the hub has")
    parser.add_argument("--clock", choices=["cpu", "wall"], default="cpu", help="cpu: what a busy machine cannot blur")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="priorhub-bench-") as folder:
        env = {**os.environ, "PRIORHUB_HOME": folder, "DJANGO_SETTINGS_MODULE": "hub.settings", "PYTHONPATH": str(ROOT)}
        env |= {"SECRET_KEY": "only for this benchmark", "RATE_LOGIN": "1000000000/3600", "LOG_LEVEL": "ERROR"}
        env |= {"PYTHONWARNINGS": "ignore", "ALLOWED_HOSTS": "testserver"}
        env.pop("DATABASE_URL", None)
        for command in ("migrate", "collectstatic"):
            subprocess.run([sys.executable, "manage.py", command, "--noinput", "-v0"], cwd=ROOT, env=env, check=True)
        given = [str(options.tries), str(options.iterations), options.clock]
        subprocess.run(
            [sys.executable, "-m", "benchmarks", "signin", "_measure", *given], cwd=ROOT, env=env, check=True
        )


def measure(tries: int, iterations: int, *, cpu: bool) -> None:
    """Makes the accounts, tries them turn by turn, and prints medians, ratios, differences and p."""
    import django

    django.setup()
    from django.contrib.auth.hashers import PBKDF2PasswordHasher
    from django.test import Client

    if iterations:
        PBKDF2PasswordHasher.iterations = iterations
    kinds = _accounts()
    rounds = max(2, tries // len(kinds))
    taken = np.empty((rounds, len(kinds)))
    draw, order = random.Random(0), list(range(len(kinds)))
    names, client = list(kinds), Client()
    clock = time.thread_time if cpu else time.perf_counter
    gc.collect()
    gc.disable()
    for turn in range(-min(20, rounds), rounds):  # the first are to warm up
        draw.shuffle(order)
        for at in order:
            client.cookies.clear()
            began = clock()
            answer = client.post("/login", {"login": kinds[names[at]], "password": _WRONG})
            seconds = clock() - began
            assert answer.status_code in {200, 422}, answer.status_code
            if turn >= 0:
                taken[turn, at] = seconds
        if turn % 100 == 0:
            gc.collect()
    print("CPU time" if cpu else "wall time", end="; ")
    _show(names, taken * 1000, iterations or PBKDF2PasswordHasher.iterations)


def _accounts() -> dict[str, str]:
    """What is typed for each kind of name."""
    from hub.accounts.models import User
    from hub.accounts.services import create_user

    create_user(name="walter", password=_RIGHT, email="walter@hub.test", vouched=True)
    create_user(name="tokens", vouched=True)
    create_user(name="closed", password=_RIGHT, vouched=True)
    User.objects.filter(username="closed").update(is_active=False)
    return {
        FIRST: "nobody",
        "known name": "walter",
        "without a password": "tokens",
        "suspended": "closed",
        "unknown address": "nobody@hub.test",
        "known address": "walter@hub.test",
    }


def _show(names: list[str], taken: Any, iterations: int) -> None:
    from scipy.stats import ks_2samp

    rounds, rng = len(taken), np.random.default_rng(0)
    drawn = [np.median(taken[rng.integers(0, rounds, rounds)], axis=0) for _ in range(400)]
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{rounds * len(names):,} failed sign-ins, PBKDF2 of {iterations:,} iterations, load {load}")
    print(f"  {'kind':<20} {'median ms':>10} {'ratio':>7} {'95 % interval':>16} {'difference ms':>14} {'KS p':>7}")
    for at, name in enumerate(names):
        base = names.index("unknown address") if name.endswith("address") else 0
        ratios = [medians[at] / medians[base] for medians in drawn]
        low, high = np.quantile(ratios, [0.025, 0.975])
        median, against = np.median(taken[:, at]), np.median(taken[:, base])
        p = 1.0 if at == base else ks_2samp(taken[:, at], taken[:, base]).pvalue
        wanted = "" if at == base else "" if abs(median - against) < LIMIT_MS and p > LIMIT_P else "  missed"
        interval = f"{low:.3f} to {high:.3f}"
        print(
            f"  {name:<20} {median:>10.3f} {median / against:>7.3f} {interval:>16} {median - against:>14.3f} {p:>7.3f}"
            f"{wanted}"
        )
    print(f"  wanted of each against the unknown one: less than {LIMIT_MS} ms between medians, p above {LIMIT_P}")
