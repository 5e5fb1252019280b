"""Exported ONNX files run on raw values in a process that has no torch, and predict what the composition does."""

import csv
import json
import shutil
import subprocess
import sys
import wave

import numpy as np
import pytest
from PIL import Image

from composer.check import check
from composer.composition import Composition
from composer.export import export
from composer.graph import Graph
from composer.lock import Lock
from composer.lower import lower
from composer.predictions import write_predictions
from composer.runner import Runner
from priors.errors import BadManifest, BadTable, UserError
from priors.functions.signatures import FUNCTION_IDS, find_signature
from priors.host.encoder import ENCODERS
from priors.library import resolver
from priors.tasks import read_table
from tests.composer._tiny import fill, tiny_library

WITHOUT_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "sklearn"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""

TEXTS = """
composition: 1
name: topics
adapt: trainable
nodes:
  text: {op: input, type: "text.raw[B]:str", column: message}
  sizes: {op: input, type: "tab.num[B,C:3]:f32", column: [a, b, c]}
  w: {op: load, prior: "prior://tiny/words"}
  deep: {op: net, in: {w: w, ids: text}, tap: layer_3}
  char: {op: fn, fn: char_ngrams, in: [text], dim: 64}
  both: {op: concat, in: [deep, char, sizes]}
  y: {op: head, in: [both], labels: [no, yes, maybe]}
outputs: {y: y}
"""
MEDIA = """
composition: 1
name: media
nodes:
  photo: {op: input, type: "image.raw[B]:u8"}
  sound: {op: input, type: "audio.raw[B]:f32"}
  p: {op: fn, fn: pixels, in: [photo], size: 8}
  h: {op: fn, fn: color_histogram, in: [photo]}
  s: {op: fn, fn: log_mel_statistics, in: [sound]}
  m: {op: fn, fn: mfcc_statistics, in: [sound]}
  both: {op: concat, in: [p, h, s, m]}
  y: {op: head, in: [both], target: price, unit: eur}
outputs: {y: y}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return tiny_library(tmp_path_factory.mktemp("library"))


def composition(document, library):
    graph = Graph.from_yaml(document)
    lock = Lock.of(check(graph, resolver(library)))
    model = lower(lock, library)
    fill(model)
    return Composition(graph, lock, model, {})


@pytest.fixture(scope="module")
def exports(library, tmp_path_factory):
    """Of each document, once: the composition and the folder of its export."""
    made = {}
    for document in (TEXTS, MEDIA):
        model, folder = composition(document, library), tmp_path_factory.mktemp("export")
        export(model.lowered, folder / "model.onnx", "onnx")
        made[document] = (model, folder)
    return made


@pytest.fixture
def exported(exports, tmp_path):
    """A copy of an export that a test may spoil."""

    def copied(document):
        model, folder = exports[document]
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        return model, tmp_path / "model.onnx"

    return copied


def without_torch(code, *arguments):
    """What `code` prints in a process that cannot import torch."""
    done = subprocess.run(
        [sys.executable, "-c", f"{WITHOUT_TORCH}{code}", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_texts(folder, count=70):
    words = ["the cat", "a dog ran", "", "Big RED mats: 12", "not very", "it sat under the mat, didn't it?"]
    with (folder / "rows.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["message", "a", "b", "c"])
        for row in range(count):
            out.writerow([" ".join(words[row % 5 : row % 6 + 1]), row, row / 3, -row])
    return folder / "rows.csv"


def write_media(folder, count=5):
    for row in range(count):
        pixels = np.random.default_rng(row).integers(0, 256, (9 + row, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{row}.png")
        with wave.open(str(folder / f"{row}.wav"), "wb") as file:
            file.setparams((1, 2, 8_000, 0, "NONE", ""))
            file.writeframes((pixels.astype(np.int16).ravel() * 99).tobytes())
    (folder / "rows.csv").write_text("photo,sound\n" + "".join(f"{row}.png,{row}.wav\n" for row in range(count)))
    return folder / "rows.csv"


@pytest.mark.parametrize(("document", "write"), [(TEXTS, write_texts), (MEDIA, write_media)], ids=["texts", "media"])
def test_the_command_line_predicts_without_torch_what_the_composition_does(document, write, exported, tmp_path):
    model, path = exported(document)
    rows = write(tmp_path)
    write_predictions(model, read_table(rows), tmp_path / "ours.csv")

    without_torch(
        "from composer.cli import app; app()", "predict", path, "--data", rows, "--out", tmp_path / "theirs.csv"
    )

    ours, theirs = (list(csv.reader((tmp_path / name).open())) for name in ("ours.csv", "theirs.csv"))
    assert ours[0] == theirs[0] and len(ours) == len(theirs)
    at = ours[0].index("prediction")
    for our, their in zip(ours[1:], theirs[1:], strict=True):
        assert our[:at] == their[:at]
        if model.labels:
            assert our[at] == their[at]
        numbers = slice(at + 1, None) if model.labels else slice(at, at + 1)
        assert [float(cell) for cell in our[numbers]] == pytest.approx(
            [float(cell) for cell in their[numbers]], abs=1e-4
        )
        assert model.labels or our[at + 1 :] == their[at + 1 :] == ["eur"]
    assert len({tuple(row[at:]) for row in ours[1:]}) > 2


def test_it_says_what_its_numbers_mean(exported):
    _, path = exported(MEDIA)

    output = Runner(path).description["outputs"][0]

    assert (output["target"], output["unit"]) == ("price", "eur")
    assert not Runner(path).labels


def test_every_encoder_and_function_of_raw_values_works_without_torch():
    host = [name for name in FUNCTION_IDS if find_signature(name).host]

    found = without_torch(
        "import json; from priors.registry import find_host_function; from priors.host.encoder import _class;"
        "host, encoders = json.loads(sys.argv[1]);"
        "print(all(find_host_function(name).host for name in host), all(_class(name).schema for name in encoders))",
        json.dumps([host, ENCODERS]),
    )

    assert found.split() == ["True", "True"]


def test_rows_are_refused_as_the_composition_refuses_them(exported):
    _, path = exported(TEXTS)
    model = Runner(path)
    good = {"message": ["a cat"], "a": [1], "b": [2], "c": [3]}

    assert model.predict(good)[0] in model.labels
    assert model.predict_proba({key: [] for key in good}).shape == (0, 3)
    with pytest.raises(BadTable, match="the rows have no column 'message'"):
        model.predict({"a": [1], "b": [2], "c": [3]})
    with pytest.raises(BadTable, match="column 'b' is not numeric"):
        model.predict({**good, "b": ["x"]})
    with pytest.raises(BadTable, match="different numbers of rows"):
        model.predict({**good, "message": ["a", "b"]})


def test_files_that_do_not_belong_together_are_refused(exported, tmp_path):
    _, path = exported(TEXTS)
    tokenizer = tmp_path / "model.tokenizer.json"
    content = tokenizer.read_text()

    tokenizer.write_text(content.replace('"cat"', '"cow"'))
    with pytest.raises(BadManifest, match="works otherwise here than it is described"):
        Runner(path)
    tokenizer.unlink()
    with pytest.raises(BadManifest, match=r"model\.tokenizer\.json cannot be read"):
        Runner(path)
    path.with_name("model.preprocessing.json").write_text('{"preprocessing": 2}')
    with pytest.raises(BadManifest, match="is of version 2, this version reads 1"):
        Runner(path)
    path.with_name("model.preprocessing.json").unlink()
    with pytest.raises(UserError, match="Keep the files of an export together"):
        Runner(path)
