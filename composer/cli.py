"""The command line: every command prints text for people or, with --json, one JSON document for programs.

Exit codes: 0 done, 1 refused (one line on stderr with the cause and what to do), 2 wrong usage. Progress is drawn on
stderr, and only on a terminal. Everything heavy is imported by the command that needs it: `priorhub --help` and the
commands that only talk to a hub import neither torch nor numpy.
"""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from composer import _cli_boards, _cli_hub, _cli_merge, _cli_terms
from composer._cli_hub import AsJson, Url
from composer._cli_terms import Local, Offline
from composer._cli_terms import open_library as _library
from composer._cli_terms import write as _write
from composer._console import benchmark_text, emit, preview_text, printable, progress, ranking_text, report_text, table

if TYPE_CHECKING:
    from composer.graph import Graph
    from composer.rank.history import History
    from priors.library import Library
    from priors.tasks import Task

app = typer.Typer(
    name="priorhub",
    help="Find priors, compose them into a model for your rows, and keep what comes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(_cli_hub.app)
app.add_typer(_cli_boards.app)
app.add_typer(_cli_merge.app)
app.add_typer(_cli_terms.app)

Data = Annotated[
    Path, typer.Option("--data", help="CSV, JSONL or Parquet; a folder of images or audio by class; a saved task.")
]
Target = Annotated[str | None, typer.Option("--target", help="The column to predict. Folders and tasks know theirs.")]
Kind = Annotated[
    Literal["multiclass", "binary", "multilabel", "regression"] | None,
    typer.Option("--kind", help="What the target is, where its values mislead."),
]
Group = Annotated[str | None, typer.Option("--group", help="Column whose equal values must stay together in a split.")]
Ignore = Annotated[list[str] | None, typer.Option("--ignore", help="Column to leave out; may be given again.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Same data, lock and seed: the same model, bit for bit.")]
Fusion = Annotated[
    Literal["concat", "late", "gate", "attend", "auto"],
    typer.Option("--fusion", help="How the parts of a set are joined; auto compares on held-out rows."),
]
Adapt = Annotated[
    Literal["auto", "none", "lora", "full"],
    typer.Option("--adapt", help="auto: adapt a network to the rows if cross-validation says so; lora, full: do so."),
]
Budget = Annotated[
    float | None, typer.Option("--budget", min=0, help="Most seconds that adapting may take, comparison included.")
]
Weights = Annotated[
    Literal["none", "balanced"],
    typer.Option("--class-weights", help="balanced: every class counts the same in all, however many rows it has."),
]
Separator = Annotated[
    str | None, typer.Option("--separator", help="Between the labels of a target cell that has several: | ; ,")
]
Metric = Annotated[
    Literal["accuracy", "macro_f1", "map", "r2"] | None,
    typer.Option("--metric", help="What counts; map: mean average precision, for several labels a row."),
]
Unit = Annotated[str | None, typer.Option("--unit", help="Of a number that is predicted: m, USD. Predictions say it.")]
With = Annotated[
    list[str] | None,
    typer.Option("--with", help="A prior of the set to fit, by name; may be given again. Leave-one-out weighs them."),
]
Remote = Annotated[bool, typer.Option("--remote", help="Send the rows to the hub and run there.")]
BudgetMb = Annotated[float | None, typer.Option("--budget-mb", min=0, help="Leave out priors of more megabytes.")]
Minutes = Annotated[
    float | None, typer.Option("--minutes", min=0, help="That adapting may take: ways beyond are marked.")
]
MemoryMb = Annotated[
    float | None, typer.Option("--memory-mb", min=0, help="Megabytes that adapting may need: ways beyond are marked.")
]
LatencyMs = Annotated[
    float | None,
    typer.Option(
        "--latency-ms", min=0, help="Milliseconds a row may take on this machine, all priors of a set together."
    ),
]
Price = Annotated[
    float | None,
    typer.Option("--price", min=0, help="Percent of what you sell the model for that its priors may ask as fees."),
]
Past = Annotated[
    Path | None,
    typer.Option("--history", help="How priors did on other tasks: Parquet of runs, or CSV with a row a prior."),
]
License = Annotated[
    Literal["sell", "any"], typer.Option("--license", help="sell: only priors whose license lets the model be sold.")
]


# ---- the main job


@app.command()
def recommend(
    data: Data,
    target: Target = None,
    budget_mb: BudgetMb = None,
    license: License = "any",
    minutes: Minutes = None,
    memory_mb: MemoryMb = None,
    latency_ms: LatencyMs = None,
    price: Price = None,
    history: Past = None,
    kind: Kind = None,
    separator: Separator = None,
    metric: Metric = None,
    group: Group = None,
    ignore: Ignore = None,
    remote: Remote = False,
    library: Local = None,
    offline: Offline = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Say which priors to combine for these rows, what to expect of it, and why."""
    if history and remote:
        raise typer.BadParameter("rows are ranked with a history here, not by the hub", param_hint="--history")
    task = _task(data, target, kind=kind, separator=separator, metric=metric, group=group, ignore=ignore)
    limits = _limits(
        budget_mb=budget_mb, license=license, minutes=minutes, memory_mb=memory_mb, latency_ms=latency_ms, price=price
    )
    with progress() as report:
        if remote:
            from composer import remote as far

            with _cli_hub.open_hub(url) as hub:
                ranking = far.recommend(hub, task, limits=limits, report=report)
        else:
            from composer.recommend import recommend as rank

            priors = _library(library, offline, url, report)
            known = _history(history)
            ranking = json.loads(rank(task, library=priors, limits=limits, history=known, report=report).to_json())
    emit(ranking, ranking_text(ranking), as_json=as_json)


@app.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder for the model: new, or an older model.")],
    target: Target = None,
    spec: Annotated[
        Path | None, typer.Option("--spec", help="A composition.yaml; the recommended one otherwise.")
    ] = None,
    members: With = None,
    seed: Seed = 0,
    fusion: Fusion = "concat",
    adapt: Adapt = "none",
    budget: Budget = None,
    class_weights: Weights = "none",
    kind: Kind = None,
    separator: Separator = None,
    metric: Metric = None,
    unit: Unit = None,
    group: Group = None,
    ignore: Ignore = None,
    remote: Remote = False,
    push_to: Annotated[
        str | None, typer.Option("--push-to", help="Where a --remote model is kept; NAME/<data> otherwise.")
    ] = None,
    library: Local = None,
    offline: Offline = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Fit a composition to labelled rows and save it."""
    task = _task(data, target, kind=kind, separator=separator, metric=metric, unit=unit, group=group, ignore=ignore)
    if members and (spec or remote):
        raise typer.BadParameter("a set by name is fitted here and without --spec", param_hint="--with")
    graph = _graph(spec) if spec else None
    options: dict[str, Any] = {
        "seed": seed,
        "fusion": fusion,
        "class_weights": class_weights,
        "adapt": adapt,
        "budget_seconds": budget,
    }
    with progress() as report:
        if remote:
            from composer import remote as far

            with _cli_hub.open_hub(url) as hub:
                result = far.fit(hub, task, graph, out, push_to=push_to, options=options, report=report)
        else:
            from composer.fit import fit as fit_here

            priors = _library(library, offline, url, report)
            choice: Any = graph
            if members:
                from composer.given import given

                choice = given(task, members, library=priors, report=report)
            beside = spec.parent if spec else None
            model = fit_here(task, choice, library=priors, folder=beside, report=report, **options)
            model.save(out)
            result = {"structure": model.structure, "model": model.model, "report": model.report}
    emit({"folder": str(out), **result}, f"{report_text(result['report'])}\nSaved in {out}.", as_json=as_json)


@app.command()
def predict(
    model: Annotated[
        Path, typer.Argument(help="Folder of a fitted model, or an exported .onnx file: that needs no torch.")
    ],
    data: Annotated[Path, typer.Option("--data", help="CSV, JSONL or Parquet with the model's input columns.")],
    out: Annotated[Path, typer.Option("--out", help="CSV to write: the input columns, prediction, p_<label> a class.")],
    library: Local = None,
    offline: Offline = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Predict rows of a table into a CSV.

    Cells are written as they came. A cell that begins with = + - or @ runs as a formula in a spreadsheet: import the
    file there as text if you do not trust where its rows come from.
    """
    from composer.predictions import write_predictions
    from priors.tasks import read_table

    with progress() as report:
        predictor: Any
        if model.suffix == ".onnx":
            from composer.runner import Runner

            predictor = Runner(model)
        else:
            predictor = _composition(model, _library(library, offline, url, report))
        rows = write_predictions(predictor, read_table(data), out)
    emit({"out": str(out), "rows": rows}, f"{rows:,} rows predicted into {out}", as_json=as_json)


@app.command()
def bench(
    data: Data,
    model: Annotated[
        Path | None, typer.Argument(help="Folder of a fitted model to score on the rows; left out: compare priors.")
    ] = None,
    target: Target = None,
    labels: Annotated[int, typer.Option("--labels", min=1, help="Labelled rows a class in each draw.")] = 16,
    draws: Annotated[int, typer.Option(min=1, help="How many draws of the labels.")] = 5,
    test_rows: Annotated[int, typer.Option(min=1, help="Most rows that judge a draw.")] = 1500,
    seed: Seed = 0,
    kind: Kind = None,
    separator: Separator = None,
    metric: Metric = None,
    group: Group = None,
    ignore: Ignore = None,
    library: Local = None,
    offline: Offline = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Score a model on labelled rows, or compare no prior, every single one and the recommended set."""
    task = _task(data, target, kind=kind, separator=separator, metric=metric, group=group, ignore=ignore)
    with progress() as report:
        priors = _library(library, offline, url, report)
        if model:
            from composer.predictions import score

            scored = score(_composition(model, priors), task)
            interval = f"[{scored['low']:.3f}, {scored['high']:.3f}]"
            text = f"{scored['metric']} {scored['score']:.3f} {interval} on {scored['rows']:,} rows"
            emit(scored, text, as_json=as_json)
            return
        from composer.benchmark import benchmark

        found = benchmark(
            task, library=priors, labels_per_class=labels, draws=draws, test_rows=test_rows, seed=seed, report=report
        )
        result = json.loads(found.to_json())
    emit(result, benchmark_text(result), as_json=as_json)


# ---- compositions


@app.command()
def check(
    spec: Annotated[Path, typer.Argument(help="composition.yaml or .json")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Also preview on these rows how the frozen parts lie to each other.")
    ] = None,
    target: Target = None,
    library: Local = None,
    offline: Offline = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Check a composition's types and say which adapters it needs; with rows also what its parts have in common."""
    from composer.alternatives import alternatives
    from composer.check import check as check_graph
    from composer.nested import resolver

    priors = _library(library, offline, url)
    checked = check_graph(_graph(spec), resolver(priors), alternatives(priors))
    previewed = None
    if data is not None:
        from composer.preview import preview

        with progress() as report:
            previewed = preview(
                checked.graph,
                _task(data, target),
                priors,
                report=report,
            ).to_dict()
    nodes = [
        {"name": node.name, "op": node.op, "type": node.shown_type, "inserted": node.auto} for node in checked.nodes
    ]
    rows = [(node["name"], node["op"], node["type"], "inserted" if node["inserted"] else "") for node in nodes]
    result = {"structure": checked.structure, "nodes": nodes, "needs_fit": checked.needs_fit}
    text = table(("node", "op", "type", ""), rows)
    if previewed is not None:
        result["preview"] = previewed
        text += "\n\n" + preview_text(previewed)
    emit(result, text, as_json=as_json)


@app.command()
def lock(
    spec: Annotated[Path, typer.Argument(help="composition.yaml or .json")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write it; composition.lock.json beside the spec.")
    ] = None,
    library: Local = None,
    offline: Offline = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write the lock of a composition: every type, adapter and content hash."""
    from composer.check import check as check_graph
    from composer.lock import Lock
    from composer.nested import resolver

    locked = Lock.of(check_graph(_graph(spec), resolver(_library(library, offline, url))))
    path = out or spec.with_name("composition.lock.json")
    _write(path, locked.to_json())
    emit({"lock": str(path), "structure": locked.structure}, f"{path}: structure {locked.structure}", as_json=as_json)


@app.command()
def verify(
    folder: Annotated[
        Path | None, typer.Argument(help="A fitted model, a prior, or a pulled repository; with --audit also a lock.")
    ] = None,
    audit: Annotated[
        bool, typer.Option("--audit", help="What became of the priors of a lock; of all that was pulled without one.")
    ] = False,
    library: Local = None,
    offline: Offline = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Recompute what a folder claims: file hashes, types, and that the lock is the lock of its graph."""
    if audit:
        if folder is None:
            _cli_hub.audit_cache(as_json)
        else:
            _cli_hub.audit_lock(folder, offline, url, as_json)
        return
    if folder is None:
        raise typer.BadParameter("name a folder, or audit what was pulled with --audit", param_hint="FOLDER")
    from composer.predictions import verify_folder

    found = verify_folder(folder, lambda: _library(library, offline, url))
    emit({"folder": str(folder), **found}, f"{folder}: {found['kind']} verified, {found['identity']}", as_json=as_json)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="Folder of a fitted model.")],
    out: Annotated[Path, typer.Option("--out", help="File to write; a new folder for plain.")],
    format: Annotated[
        Literal["pt2", "onnx", "plain"],
        typer.Option(help="torch.export program, ONNX, or a repository for transformers and sentence-transformers."),
    ] = "pt2",
    library: Local = None,
    offline: Offline = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write a model so that it runs without priorhub: a program with a description beside it, or a repository."""
    if format == "plain":
        from composer.export_plain import export_plain

        with progress() as report:
            made = export_plain(_composition(model, _library(library, offline, url, report)), out)
        emit(
            {"out": str(made.path), "loads_as": made.loads_as, "max_abs_diff": made.max_abs_diff},
            f"{made.path} written for {made.loads_as}, within {made.max_abs_diff:.2g} of the model.",
            as_json=as_json,
        )
        return
    if out.suffix != f".{format}":
        raise typer.BadParameter(f"name it something{'.'}{format}, the format asked for", param_hint="--out")
    with progress() as report:
        found = _composition(model, _library(library, offline, url, report)).export(out, format=format)
    emit(
        {"out": str(found.path), "preprocessing": str(found.preprocessing), "max_abs_diff": found.max_abs_diff},
        f"{found.path} written, within {found.max_abs_diff:.2g} of the model; {found.preprocessing} says what goes in.",
        as_json=as_json,
    )


# ---- what several commands need


def _task(data: Path, target: str | None, *, ignore: list[str] | None = None, **options: Any) -> Task:
    from priors.tasks import Task

    return Task.from_path(data, target, ignore=ignore or (), **options)


def _history(path: Path | None) -> History | None:
    if path is None:
        return None
    from composer.rank.history import History, read_outcomes

    return History.of_outcomes(*read_outcomes(path)) if path.suffix == ".parquet" else History.of_table(path)


def _graph(spec: Path) -> Graph:
    from composer.graph import Graph

    return Graph.load(spec)


def _composition(folder: Path, library: Library) -> Any:
    from composer.composition import Composition

    return Composition.load(folder, library=library)


def _limits(**given: Any) -> dict[str, Any]:
    """Those that say something."""
    return {name: value for name, value in given.items() if value not in (None, "any")}


def main() -> None:
    """The entry point `priorhub`."""
    from priors.errors import UserError

    try:
        app()
    except UserError as error:
        _refused(str(error))
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        _refused(f"{error.filename or 'a file'} cannot be written: {error.strerror}. Make room, or use another place.")


_NO_PLACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""What is no mistake of ours wherever it happens."""


def _refused(why: str) -> NoReturn:
    sys.stderr.write(f"error: {printable(' '.join(why.split()))}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
