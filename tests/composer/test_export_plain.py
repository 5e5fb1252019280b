"""Plain repositories: transformers and sentence-transformers' files alone give what the composition gives."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file

from composer.export_plain import export_plain
from composer.lower import Lowered
from priors.errors import AppError, UserError
from priors.library import LocalLibrary
from priors.registry import find_architecture
from tests.composer._tiny import TOKENIZER, WORDS, fill, lowered, tiny_library, word_tokenizer, write_prior
from tests.priors._families import TEXT

TEXTS = ["the cat sat on the mat", "a dog", "very big red not under ran", "unknown words too"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    tiny_library(folder)
    for name, config in TEXT.items():
        taps = tuple(find_architecture(name)(config).taps())
        folder_of_it = folder / "family" / name
        # Some families number their positions by which ids are padding, 1 for these.
        padded = name in ("roberta", "xlm-roberta", "mpnet")
        words = [*reversed(WORDS[:2]), *WORDS[2:]] if padded else WORDS
        host = {**TOKENIZER, "pad_id": int(padded)}
        write_prior(folder_of_it, name, config, taps=taps, host=host, tokenizer=word_tokenizer(words), scale=1.0)
    for name, seed in (("one", 11), ("two", 12)):
        write_prior(
            folder / "kin" / name, "bert", TEXT["bert"], taps=("layer_3",), host=TOKENIZER,
            tokenizer=word_tokenizer(), scale=1.0, seed=seed,
        )  # fmt: skip
    write_prior(
        folder / "tiny" / "closed", "bert", {**TEXT["bert"], "vocab": "words"}, taps=("layer_3",), host=TOKENIZER,
        tokenizer=word_tokenizer(), license="CC-BY-ND-4.0",
    )  # fmt: skip
    return folder


def composed(root, after, *, prior="tiny/words", tap="layer_3", between="", weights="w") -> Lowered:
    model = lowered(
        LocalLibrary(root),
        f"""
composition: 1
name: topics
adapt: trainable
nodes:
  text: {{op: input, type: "text.raw[B]:str"}}
  w: {{op: load, prior: "prior://{prior}"}}
{between}
  n: {{op: net, in: {{w: {weights}, ids: text}}, tap: {tap}{", train: delta" if between else ""}}}
{after}
outputs: {{y: y}}
""",
    )
    fill(model)
    return model


def by_hand(folder, pooling="mean"):
    """The features that the files give with transformers' own classes, and each further module's arithmetic."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    given = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        state = model(**given).last_hidden_state
    mask = given["attention_mask"].unsqueeze(2)
    x = (state * mask).sum(1) / mask.sum(1) if pooling == "mean" else state[:, 0]
    for module in json.loads((folder / "modules.json").read_text())[2:]:
        if module["type"].endswith("Dense"):
            held = load_file(folder / module["path"] / "model.safetensors")
            x = x @ held["linear.weight"].T + held["linear.bias"]
        else:
            x = torch.nn.functional.normalize(x, dim=-1)
    return x


def ours(model):
    return torch.from_numpy(model.features({"text": TEXTS}, ["y"])["y"])


POOLED = "  y: {op: pool, in: [n], axis: T}"
HEAD = """
  p: {op: pool, in: [n], axis: T}
  b: {op: fn, fn: block_norm, in: [p], fit: train}
  s: {op: fn, fn: standardize, in: [b], fit: train}
  y: {op: head, in: [s], labels: [no, yes, maybe]}
"""


def test_an_encoder_with_pooling_and_unit_rows_is_one_of_sentence_transformers(root, tmp_path):
    model = composed(root, "  p: {op: pool, in: [n], axis: T}\n  y: {op: cast, in: [p], domain: l2}")

    report = export_plain(model, tmp_path / "out")

    assert report.loads_as == "SentenceTransformer" and report.max_abs_diff < 1e-5
    torch.testing.assert_close(by_hand(report.path), ours(model), atol=1e-5, rtol=1e-4)
    modules = json.loads((report.path / "modules.json").read_text())
    assert [(module["path"], module["type"].rpartition(".")[2]) for module in modules] == [
        ("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"),
    ]  # fmt: skip
    assert json.loads((report.path / "1_Pooling/config.json").read_text())["pooling_mode_mean_tokens"] is True
    assert json.loads((report.path / "sentence_bert_config.json").read_text())["max_seq_length"] == 32
    assert "license: MIT" in (report.path / "README.md").read_text() and (report.path / "NOTICE").is_file()


def test_a_lower_layer_functions_and_a_head_are_folded(root, tmp_path):
    model = composed(root, HEAD, tap="layer_2")

    report = export_plain(model, tmp_path / "out")

    temperature = float(model.learned["y"].temperature)
    torch.testing.assert_close(by_hand(report.path), ours(model) / temperature, atol=1e-4, rtol=1e-4)
    assert json.loads((report.path / "config.json").read_text())["num_hidden_layers"] == 2
    folders = sorted(path.name for path in report.path.iterdir() if path.is_dir())
    assert folders == ["1_Pooling", "2_Dense", "3_Normalize", "4_Dense"]
    assert json.loads((report.path / "export.json").read_text())["labels"] == ["no", "yes", "maybe"]


MERGED = """
  v: {op: load, prior: "prior://kin/two"}
  u: {op: load, prior: "prior://family/bert"}
  m: {op: merge, method: ties, in: [u, w, v], weights: [0.6, 0.8], parameters: {density: 0.5}}
  k: {op: splice, in: [m, w], layers: [[0, 0, 2], [1, 2, 3]]}
  d: {op: delta, in: [k], kind: lora, r: 2, targets: ["layers.1.*"]}
"""


def test_merged_spliced_and_changed_weights_become_one_plain_network(root, tmp_path):
    model = composed(root, HEAD, prior="kin/one", between=MERGED, weights="d")

    report = export_plain(model, tmp_path / "out")

    temperature = float(model.learned["y"].temperature)
    torch.testing.assert_close(by_hand(report.path), ours(model) / temperature, atol=1e-4, rtol=1e-4)
    held = load_file(report.path / "model.safetensors")
    one, two, base = (load_file(root / where / "model.safetensors") for where in ("kin/one", "kin/two", "family/bert"))
    name = next(key for key in held if key.endswith("word_embeddings.weight"))
    same = next(key for key in one if key.endswith("word_embeddings.weight"))
    assert not any(torch.allclose(held[name], each[same], atol=1e-3) for each in (one, two, base))
    assert "merging weights and folding" in (report.path / "README.md").read_text()
    notice = (report.path / "NOTICE").read_text()
    assert all(part in notice for part in ("kin/one", "kin/two", "family/bert")) and "were merged" in notice


def test_a_delta_is_folded_into_the_weights(root, tmp_path):
    delta = '  d: {op: delta, in: [w], kind: lora, r: 2, targets: ["layers.1.*"]}'
    model = composed(root, POOLED, between=delta, weights="d")
    plain = composed(root, POOLED)

    report = export_plain(model, tmp_path / "out")

    torch.testing.assert_close(by_hand(report.path), ours(model), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(ours(model), ours(plain), atol=1e-2)


def test_a_head_on_the_first_token_is_a_model_for_classification(root, tmp_path):
    model = composed(root, "  y: {op: head, in: [n], labels: [no, yes, maybe]}", tap="cls")

    report = export_plain(model, tmp_path / "out")
    classify = transformers.pipeline("text-classification", model=str(report.path), top_k=None)

    assert report.loads_as == "AutoModelForSequenceClassification"
    wanted = (ours(model) / float(model.learned["y"].temperature)).softmax(1)
    for said, row in zip(classify(TEXTS), wanted.tolist(), strict=True):
        chances = {one["label"]: one["score"] for one in said}
        assert [chances[label] for label in ("no", "yes", "maybe")] == pytest.approx(row, abs=1e-5)


@pytest.mark.parametrize(
    ("family", "tap"),
    [
        ("bert", "layer_3"), ("roberta", "layer_3"), ("xlm-roberta", "layer_2"), ("distilbert", "layer_3"),
        ("mpnet", "layer_3"), ("deberta-v2", "layer_3"), ("modernbert", "final"), ("gpt2", "final"), ("llama", "final"),
    ],
)  # fmt: skip
def test_families_that_automodel_loads_are_written(family, tap, root, tmp_path):
    model = composed(root, POOLED, prior=f"family/{family}", tap=tap)

    report = export_plain(model, tmp_path / "out")

    torch.testing.assert_close(by_hand(report.path), ours(model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("after", "more", "words"),
    [
        ("  c: {op: fn, fn: char_ngrams, in: [text], dim: 64}\n  p: {op: pool, in: [n], axis: T}\n"
         "  b: {op: concat, in: [p, c]}\n  y: {op: head, in: [b], labels: [a, b]}", {},
         r"node 'b' \(concat\) stands in the way of a plain repository"),
        ("  p: {op: pool, in: [n], axis: T}\n  q: {op: fn, fn: quantile, in: [p], fit: train}\n"
         "  y: {op: head, in: [q], labels: [a, b]}", {}, r"node 'q' \(fn\) stands in the way.*no affine map"),
        (POOLED, {"tap": "layer_0"}, r"node 'n' \(net\) stands in the way.*no layers"),
        (POOLED, {"prior": "family/llama", "tap": "layer_2"}, "before the normalization that transformers puts at"),
        (POOLED, {"prior": "family/t5-encoder"}, "none that transformers' AutoModel loads"),
        (POOLED, {"prior": "tiny/closed"}, r"tiny/closed.* is under CC-BY-ND-4\.0, which does not permit"),
    ],
    ids=["concat", "quantile", "layer_0", "llama", "t5", "license"],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(after, more, words, root, tmp_path):
    with pytest.raises(UserError, match=words):
        export_plain(composed(root, after, **more), tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_that_transformers_would_replace_by_the_family_s_own_is_noticed(root, tmp_path):
    with pytest.raises(AppError, match="gives something that differs"):  # Qwen2Tokenizer makes its own of any file
        export_plain(composed(root, POOLED, prior="family/qwen2", tap="final"), tmp_path / "out")


def test_what_gives_something_else_is_not_written(root, tmp_path, monkeypatch):
    monkeypatch.setattr("composer.export_plain.TOLERANCE", -1.0)

    with pytest.raises(AppError, match="gives something that differs"):
        export_plain(composed(root, POOLED), tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(root, tmp_path):
    (tmp_path / "mine").write_text("mine")

    with pytest.raises(UserError, match="is there already"):
        export_plain(composed(root, POOLED), tmp_path)
