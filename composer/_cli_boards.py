"""The commands about boards: how one stands, opening one, submitting to it, withdrawing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from composer._cli_hub import AsJson, Url, open_hub
from composer._console import emit, printable, progress, table

app = typer.Typer()

Task = Annotated[str, typer.Argument(help="namespace/name of the task")]


@app.command()
def board(
    task: Task,
    opens: Annotated[
        bool, typer.Option("--open", help="Open the board of a task of yours, or change its rules.")
    ] = False,
    labels: Annotated[int | None, typer.Option(min=1, help="Labelled rows a class to learn from.")] = None,
    draws: Annotated[int | None, typer.Option(min=2, help="How often the labels are drawn anew.")] = None,
    test_rows: Annotated[int | None, typer.Option("--test-rows", min=20, help="Rows that judge, at most.")] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Answers a week.")] = None,
    hidden: Annotated[
        Path | None,
        typer.Option("--hidden", help="A table, or a zip of data.csv and media/, with rows that judge; kept secret."),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show how the board of a task stands: ranks with ties, placebos, what is only claimed. Or open it."""
    rules = {"labels": labels, "draws": draws, "test_rows": test_rows, "budget": budget}
    if not opens and (hidden is not None or any(value is not None for value in rules.values())):
        raise typer.BadParameter("rules and hidden rows go with --open")
    with open_hub(url) as hub:
        if opens:
            hub.open_board(task, **rules, hidden=hidden)
        found = hub.board(task)
    emit(found, printable(_shown(found)), as_json=as_json)


@app.command()
def submit(
    name: Annotated[str, typer.Argument(help="namespace/name of a prior or composition; of a prior perhaps #tap")],
    to: Annotated[str, typer.Option("--to", help="namespace/name of the task whose board judges.")],
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it is measured.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Have a prior or composition measured on a board, by the hub, on draws that it chooses."""
    with open_hub(url) as hub:
        run = hub.submit_to_board(to, name)
        if wait and run.get("state") == "waiting" and run.get("job"):
            with progress() as report:
                hub.wait(str(run["job"]), report)
            run = hub.run(str(run["id"]))
    emit(run, printable(_said(run)), as_json=as_json)


@app.command()
def withdraw(
    run: Annotated[str, typer.Argument(help="The id of the run.")],
    why: Annotated[str, typer.Option("--why", help="The reason, which everybody will read.")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Take a run out of its ranking. It stays visible."""
    with open_hub(url) as hub:
        found = hub.withdraw(run, why)
    emit(found, printable(f"{found['submission']} is withdrawn from the board of {found['task']}."), as_json=as_json)


def _shown(found: dict[str, Any]) -> str:
    rows = []
    for line in found["ranked"]:
        run, tie = line["run"], "" if line["first"] == line["last"] else f"-{line['last']}"
        rows.append((f"{line['first']}{tie}", run["submission"], *_numbers(run["score"], run["interval95"])))
    for each in found["placebos"]:
        bounds = None if each["mean"] is None else (each["low"], each["high"])
        rows.append(("", each["name"], *_numbers(each["mean"], bounds)))
    judged = found["board"]["hidden_rows"]
    about = f"{found['board']['task']}: {found['board']['labels']} labels a class, {found['board']['draws']} draws, "
    about += f"{judged} hidden rows judge." if judged else "rows of the task judge."
    parts = [about, table(("rank", "what", "score", "95 % interval"), rows) if rows else "Nothing ranks here yet."]
    parts += [f"{line['run']['submission']}: {line['verdict']}" for line in found["ranked"] if line["verdict"]]
    parts += [f"claimed, not verified: {one['repository']} {one['score']:g}" for one in found["claims"]]
    if found.get("budget"):
        parts.append(f"{found['budget']['left']} of {found['budget']['of']} answers left this week.")
    return "\n".join(parts)


def _numbers(score: float | None, bounds: Any) -> tuple[str, str]:
    if score is None:
        return "not tried", ""
    return f"{score:.3f}", f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else ""


def _said(run: dict[str, Any]) -> str:
    if run["state"] == "failed":
        return f"{run['submission']} was not measured: {run['problem']}"
    if run["state"] == "waiting":
        return f"{run['submission']} waits to be measured; run {run['id']}, job {run['job']}."
    if run["score"] is None:
        return f"{run['submission']} was measured, and is not clearly above what you were told before."
    score, bounds = _numbers(run["score"], run["interval95"])
    beaten = [each["name"] for each in run["against"] if each["above"] is False]
    said = f"Not above {', '.join(beaten)}." if beaten else "Above everything it was held against that could be tried."
    return f"{run['submission']}: {score} ({bounds}). {said}"
