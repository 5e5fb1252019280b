"""Cells that are missing: how tasks keep them, and the functions that take them."""

import numpy as np
import pytest
import torch
from PIL import Image

from priors.errors import BadTable
from priors.functions.absent import filled, is_missing
from priors.functions.block_norm import INDICATOR, BlockNorm
from priors.functions.fill import Fill
from priors.functions.known import Known
from priors.functions.present import Present
from priors.tasks import Task

NAN = float("nan")


def test_a_task_keeps_the_gaps_of_every_kind_of_column_and_saves_them(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4), (len(name), 0, 0)).save(tmp_path / name)
    columns = {
        "picture": ["a.png", None, "b.png", "a.png"],
        "series": [[1.0, 2.0], [3.0], None, [4.0, 5.0]],
        "n": [1.0, NAN, 3.0, None],
        "text": ["some words here", "", None, "more words"],
    }
    task = Task.from_table({**columns, "y": list("xyxy")}, "y", base=tmp_path, modalities={"text": "text"})
    task.check_media()
    again = Task.from_dir(task.save(tmp_path / "saved"))

    for one in (task, again):
        assert [value is None for value in one.values("picture")] == [False, True, False, False]
        assert [value is None for value in one.values("series")] == [False, False, True, False]
        assert np.isnan(one.values("n")).tolist() == [False, True, False, True]
        assert one.values("text") == ["some words here", "", "", "more words"]
    assert again.fingerprint == task.fingerprint


def test_a_gap_in_the_only_column_is_refused_where_it_is_a_path_or_a_series(tmp_path):
    with pytest.raises(BadTable, match="'s' holds series, but row 2 is empty"):
        Task.from_table({"s": [[1.0], None, [2.0], [3.0]], "y": list("xyxy")}, "y")


def test_what_is_missing_and_what_stands_for_it():
    assert [is_missing(value) for value in (None, NAN, " ", "a", 0.0, np.zeros(1))] == [True] * 3 + [False] * 3
    assert Present({}).extract(["a", "", None]).tolist() == [[1], [0], [0]]
    assert filled(["a", None, " "], "text") == ["a", "", " "]
    shapes = [filled([None], kind, channels=2)[0].shape for kind in ("image", "audio", "series")]
    assert shapes == [(8, 8, 3), (16_000,), (1, 2)]


def test_gaps_in_numbers_become_the_mean_of_what_is_known():
    x = torch.tensor([[1.0, NAN, NAN], [3.0, 4.0, NAN], [NAN, NAN, NAN]])
    module = Fill({}).module("tab.num[B,C:3]:f32")
    module.load_state_dict(Fill({}).fit(x))
    assert module(x).tolist() == [[1, 4, 0], [3, 4, 0], [2, 4, 0]]
    assert Known({}).module("tab.num[B,C:3]:f32")(x).tolist() == [[1], [1], [0]]
    with pytest.raises(BadTable, match="finite"):
        Fill({}).fit(torch.tensor([[float("inf")]]))


@pytest.mark.parametrize("mode", ["rows", "counts", "columns"])
def test_rows_that_are_missing_are_zero_and_teach_the_block_nothing(mode):
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(20, 6, generator=generator)
    there = (torch.arange(20) % 4 > 0).float()[:, None]
    width = "vec.feat[B,D:7]:f32"
    plain = BlockNorm({"mode": mode, "weight": 0.5})
    beside = BlockNorm({"mode": mode, "weight": 0.5, "gaps": True})
    without, module = plain.module("vec.feat[B,D:6]:f32"), beside.module(width)
    without.load_state_dict(plain.fit(rows[there[:, 0] > 0]))
    module.load_state_dict(beside.fit(torch.cat([there, rows], 1)))

    made = module(torch.cat([there, rows], 1))

    assert torch.allclose(made[there[:, 0] > 0, 1:], without(rows[there[:, 0] > 0]), atol=1e-6)
    assert not made[there[:, 0] == 0, 1:].any()
    assert made[:, 0].square().mean().item() == pytest.approx(0.5 * INDICATOR, rel=1e-4)
    module.load_state_dict(beside.fit(torch.cat([torch.ones(20, 1), rows], 1)))
    assert not module(torch.cat([there, rows], 1))[:, 0].any()  # nothing was learned of gaps that were never seen
