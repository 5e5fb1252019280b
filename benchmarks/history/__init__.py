"""`python -m benchmarks.history`: what every starter prior, alone and in sets, scored on many tasks.

problems.py   tasks: rows, labels and groups over the rows of a source
texts.py, pictures.py, sounds.py, tables.py   the sources, each a column whose features are computed once
cells.py      one draw of one task: everything is fitted on the drawn rows and scored on the others
build.py      all cells, a file a task; the Parquet of all of them
evaluate.py   leave one task out: the ranker's choice against the best set and against plain ways to choose
"""
