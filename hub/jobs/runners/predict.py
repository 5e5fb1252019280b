"""Job `predict`: a published model applied to the rows of a task repository, as a CSV."""

from __future__ import annotations

import pyarrow as pa

from composer.composition import Composition
from composer.predictions import write_predictions
from hub.catalog.library import HubStorage
from hub.jobs.runners import Work
from hub.jobs.runners.inputs import repository_folder
from hub.jobs.services import Outcome
from priors.tasks import RawTable, directory


def run(work: Work) -> Outcome:
    """How many rows there are; the CSV becomes the job's file, with a given target beside what was predicted."""
    work.report(0, 2, "reading the model and the rows")
    folder = repository_folder(work, work.spec["data"], "data")
    model = Composition.load(repository_folder(work, work.spec["model"], "model"), library=HubStorage(work.owner))
    spec, labelled, unlabelled = directory.read(folder)
    tables = [labelled.table] + ([unlabelled.table] if unlabelled else [])
    table = pa.concat_tables(tables, promote_options="permissive")
    if spec.target in table.column_names and table.column(spec.target).null_count == table.num_rows:
        table = table.drop_columns([spec.target])  # rows to predict only: an empty column says nothing
    work.report(1, 2, f"predicting {table.num_rows} rows")
    out = work.folder / "predictions.csv"
    rows = write_predictions(model, RawTable(spec.name, table, folder), out, local=False)
    work.report(2, 2, "done")
    return Outcome({"rows": rows}, output=out)
