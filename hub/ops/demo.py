"""The main job from end to end through the HTTP API: a few labelled rows to a composed, published, pulled, exported
model.

Everything here goes through `priors.client` and `composer`, as a user's program would; only the token is made on the
spot.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings

from hub.ops import running
from hub.web.svg import interval_plot, label_curve
from priors.client import Hub, HubLibrary
from priors.client.hub import verify
from priors.errors import AppError, HubError, HubUnreachable

Say = Callable[[str], None]

LABELS = 16
SEED = 0
START_S = 180.0
"""How long a hub may take to start: the first time it imports the starter catalogue."""

EXPORT_TOLERANCE = 1e-4


@contextmanager
def hub_at_home(home: Path, say: Say) -> Iterator[str]:
    """The address of the hub on this home: the one that runs, or one started for the while."""
    there = running.read(home)
    if there and _answers(there.url):
        say(f"Using the hub that runs at {there.url}.")
        yield there.url
        return
    say("Starting a hub on a free port …")
    log = home / "demo" / "hub.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        child = subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "up", "--port", "0"], stdout=out, stderr=out
        )
        try:
            deadline = time.monotonic() + START_S
            while not ((there := running.read(home)) and _answers(there.url)):
                if child.poll() is not None or time.monotonic() > deadline:
                    raise AppError(f"the hub did not start; the end of {log}: {log.read_text()[-600:]}")
                time.sleep(0.1)
            yield there.url
        finally:
            child.terminate()
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


class Demo:
    """One run on one task. `out` takes the data, the pictures and the exported model; report.json goes beside it."""

    def __init__(self, url: str, token: str, task: str, out: Path, say: Say, progress: Callable[[str], None]) -> None:
        self.name, self.out, self.say, self.progress = task, out, say, progress
        self.url, self.token = url, token
        self.hub = Hub(url, token, cache=out / "cache")
        self.report_file = out.parent / "report.json"
        self.repo, self.task_repo = f"demo/{task}", f"demo/{task}-task"
        self.report: dict[str, Any] = {"task": task, "labels_per_class": LABELS}

    def run(self) -> dict[str, Any]:
        """All seven steps; the report, which is also written to report.json."""
        started = time.monotonic()
        self._catalogue()
        task, rev, draw = self._task()
        ranking = self._recommend(rev, draw)
        self._fit(task, rev, draw, ranking)
        self._benchmark(rev)
        self._use(task, draw)
        self.report["seconds_total"] = round(time.monotonic() - started, 1)
        self.report_file.write_text(json.dumps(self.report, indent=1, ensure_ascii=False) + "\n", "utf-8")
        self._learned()
        return self.report

    def _catalogue(self) -> None:
        self.say("\n1. The catalogue")
        for one in self.hub.search():
            files = self.hub.tree(one.repo).files
            has = {file.path for file in files}
            missing = {"prior.json", "README.md", "LICENSE"} - has
            if missing:
                raise HubError(f"{one.repo} lacks {', '.join(sorted(missing))}. Run `manage.py seed` again.")
            size = sum(file.size for file in files) / 1e6
            self.say(
                f"   {one.repo:34} {one.kind:9} {one.modality:6} {size:7.1f} MB  {one.license:11} {one.ref[-64:][:12]}…"
            )

    def _task(self) -> tuple[Any, str, Any]:
        from priors.tasks.starter import starter_task

        task = starter_task(self.name, self.out / "data")
        folder = task.save(self.out / "task", portable=True)
        commit = self.hub.push(folder, self.task_repo, f"The {self.name} task", report=self._transferred)
        draw = task.draw(LABELS, SEED, 1_500)
        self.say(f"\n2. The task {self.task_repo}: {len(task):,} rows, {len(task.labels)} classes")
        self.say(f"   {LABELS} labelled rows a class ({len(draw.train)}); {len(draw.test):,} held back for the verdict")
        return task, f"{self.task_repo}@{commit}", draw

    def _recommend(self, rev: str, draw: Any) -> dict[str, Any]:
        self.say("\n3. Which priors? From the labelled rows alone")
        rows = [int(row) for row in draw.train]
        ranking: dict[str, Any] = self._job("recommend", {"task": rev, "rows": rows})
        for one in [*ranking["sets"][:2], *ranking["singles"][:4]]:
            self.say(f"   {one['expected']:.3f} [{one['low']:.3f}, {one['high']:.3f}]  {one['name']}")
            self.say(f"         {one['why']}")
        self.say(f"   Answer: {ranking['answer']}. {ranking['why']}")
        return ranking

    def _fit(self, task: Any, rev: str, draw: Any, ranking: dict[str, Any]) -> None:
        from composer.assemble import offer, plain_members, set_graph
        from composer.check import check
        from composer.choices import Ranking
        from composer.nested import resolver

        library = HubLibrary(self.hub)
        offered = offer(task, library.entries())
        graph = set_graph(task, Ranking.from_dict(ranking).best.members or plain_members(offered), offered, seed=SEED)
        checked = check(graph, resolver(library))
        self.say(f"\n4. The composition: {len(graph.nodes)} nodes, {len(checked.inserted)} adapters inserted")
        for (op, kind), count in Counter(
            (node.op, node.shown_type.partition("@")[0]) for node in checked.inserted
        ).items():
            self.say(f"   {count} x {op} -> {kind}")
        self.say(f"   structure {checked.structure[:23]}…; a worker fits it on cached frozen features")
        rows = [int(row) for row in draw.train]
        spec = {"task": rev, "rows": rows, "composition": graph.to_dict(), "push_to": self.repo, "seed": SEED}
        result = self._job("fit", spec)
        facts = result["report"]
        self.say(
            f"   leave-one-out {facts['metric']} {facts['expected']:.3f}, fitted in {facts['seconds']['fit']:.1f} s"
        )
        self.report |= {"structure": result["structure"], "model": result["model"], "commit": result["commit"]}

    def _benchmark(self, rev: str) -> None:
        self.say("\n5. The verdict: 5 draws of the labels, the rest of the rows as test")
        result = self._job("benchmark", {"task": rev, "labels_per_class": LABELS, "seed": SEED})
        for row in result["rows"]:
            interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
            self.say(f"   {row['accuracy']:.3f} {interval} {row['seconds']:6.2f} s  {row['name']} ({row['kind']})")
        for note in result["notes"]:
            self.say(f"   {note}")
        (self.out / "accuracy.svg").write_text(interval_plot(result["rows"], title=f"{self.name}: accuracy"), "utf-8")
        (self.out / "labels.svg").write_text(label_curve(result["curve"], result["labels_saved"]), "utf-8")
        self.say(f"   {result['labels_saved']['text']}")
        self.say(f"   Drawn in {self.out / 'accuracy.svg'} and {self.out / 'labels.svg'}")
        self.report |= {key: result[key] for key in ("rows", "curve", "labels_saved", "draws", "metric", "notes")}

    def _use(self, task: Any, draw: Any) -> None:
        from composer.composition import Composition

        self.say(f"\n6. The model {self.repo}, pulled into an empty cache")
        empty = self.out / "pulled"
        shutil.rmtree(empty, ignore_errors=True)
        fresh = Hub(self.url, self.token, cache=empty)
        folder = fresh.pull(self.repo, report=self._transferred)
        tree = fresh.tree(self.repo)
        verify(folder, tree)
        self.say(f"   {len(tree.files)} files, every hash verified")
        model = Composition.load(folder, library=HubLibrary(fresh))
        rows = [int(row) for row in draw.test[:: max(len(draw.test) // 3, 1)][:3]]
        asked = task.subset(rows)
        values = {column.name: asked.values(column.name) for column in asked.inputs}
        sure = model.predict_proba(values) if model.labels else None
        for i, said in enumerate(model.predict(values)):
            shown = str(next(iter(values.values()))[i])
            right = task.labels[int(task.y[rows[i]])] if model.labels else task.y[rows[i]]
            chance = f" ({sure[i].max():.0%})" if sure is not None else ""
            self.say(f"   {shown[:60]!r} -> {said}{chance}; labelled {right}")
        exported = model.export(self.out / f"{self.name}.pt2")
        if exported.max_abs_diff > EXPORT_TOLERANCE:
            raise AppError(f"the exported model differs from the fitted one by {exported.max_abs_diff:.1e}")
        self.say(f"   Exported to {exported.path}; largest difference {exported.max_abs_diff:.1e}")
        self.report["export_max_abs_diff"] = exported.max_abs_diff

    def _learned(self) -> None:
        best = {kind: self._best(kind) for kind in ("none", "single", "recommended")}
        lead = best["recommended"]["accuracy"] - best["single"]["accuracy"]
        self.say(
            f"\n7. What was learned: with {LABELS} labels a class the recommended set reaches "
            f"{best['recommended']['accuracy']:.3f}, the best single prior ({best['single']['name']}) "
            f"{best['single']['accuracy']:.3f} ({lead:+.1%}), no prior {best['none']['accuracy']:.3f}."
        )
        self.say(f"   {self.report['labels_saved']['text']}")
        self.say(f"   Report: {self.report_file}, {self.report['seconds_total']:.0f} s in all.")

    def _best(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = max(
            (row for row in self.report["rows"] if row["kind"] == kind), key=lambda row: row["accuracy"]
        )
        return found

    def _job(self, kind: str, spec: dict[str, Any]) -> Any:
        job = self.hub.submit(kind, spec, again=True)
        result = self.hub.wait(job, self._stepped)
        self.progress("")
        return result

    def _stepped(self, step: int, of: int, message: str = "", **metrics: Any) -> None:
        self.progress(f"   [{step}/{of}] {message}")

    def _transferred(self, step: int, of: int = 0, message: str = "", **metrics: Any) -> None:
        self.progress(f"   {message} {step / max(of, 1):.0%}" if of else "")


def _answers(url: str) -> bool:
    try:
        with Hub(url, token=None) as hub:
            return bool(hub.health())
    except HubUnreachable:
        return False
