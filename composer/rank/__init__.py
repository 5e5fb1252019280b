"""Ranking: which priors, or sets of priors, fit a task. Works on feature matrices and on tables of past results;
runs no prior and knows no hub.

probe.py   exact leave-one-out scores of a block, or a weighted sum of blocks, from its Gram matrix
sets.py    which blocks to combine and with what weight, averaged over the evidence; when to stop
head.py    the weights of the same ridge head, from features
starter.py  the history that comes with the program: what the starter priors did on many tasks
curves.py  label curves, and how many labels a prior is worth
rows.py    a part of the rows, where there are many
history.py what is known of tasks and priors, and how priors did on tasks
tables.py  published tables of results as CSV
evidence.py  exact log evidence (LogME) of features or Gram matrices; grams.py  the sums it needs, in parts of rows
transfer.py  LEEP, N-LEEP, nearest neighbours, the Brier score;  alignment.py  CKA and effective rank
score.py   all of these for a file: `python -m composer.rank.score`
cold.py    where priors stand on a task of which only the card is known
           standing.py (scales), likeness.py and glossary.py (cards), kriging.py (over tasks), inherit.py (new priors)
reveal.py  what a few results on the task itself change, and which to measure next
evaluate.py  `python -m composer.rank.evaluate`: all of it on a published table
           protocol.py (who is left out), baselines.py, measures.py
learned.py   a set transformer on what the cold tier gets wrong, behind a gate; _set_network.py (torch)
"""
