"""The word-valence lexicon: ratings summed with negation, whatever the padding, and the tokenizer made for it."""

import pytest
import torch
from tokenizers import Tokenizer
from torch.export import Dim, export

from priors.architectures.lexicon import Lexicon
from priors.errors import BadManifest, BadWeights
from priors.families.small import LEXICON_FEATURES
from priors.host.text import TextConfig, TextEncoder
from priors.sources._lexicon import NEGATIONS, read_ratings, vocabulary, write_ratings, write_words
from priors.weights import load_weights

RATINGS = (
    "good\t1.9\t0.9\n:)\t2.0\t1.0\nbad\t-2.5\t0.7\nGreat\t3.1\t0.7\nself-made\t1.0\t1\n:-(\t-1.5\t1\nnot\t-1.0\t1\n"
)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text(RATINGS)
    return path


@pytest.fixture
def words(source, tmp_path):
    write_words(source, tmp_path / "tokenizer.json")
    return Tokenizer.from_file(str(tmp_path / "tokenizer.json"))


@pytest.fixture
def lexicon(source, tmp_path):
    write_ratings(source, tmp_path / "model.safetensors")
    size = len(list(vocabulary(read_ratings(source))))
    family = Lexicon({"vocab": "test-words", "vocab_size": size})
    module = family.build(("ratings",))
    module.load_state_dict(family.key_map(load_weights(tmp_path / "model.safetensors")))
    return module.eval().requires_grad_(False)


@pytest.fixture
def read(lexicon, words):
    """Features (n, 6) of texts, as one batch."""
    config = TextConfig(encoder="tokenizer", file="tokenizer.json", max_tokens=512)
    encoder = TextEncoder(words, config, content=b"", sha256="")
    return lambda *texts: lexicon(*encoder.encode(texts))[0]


def summed(features: torch.Tensor) -> list[float]:
    """The sum of ratings that the first feature stands for: s / sqrt(s² + 15)."""
    return [float((15 * f**2 / (1 - f**2)) ** 0.5 * f.sign()) for f in features[:, 0]]


def test_ratings_are_summed_and_split_by_sign(read):
    features = read("good and bad", "GREAT")

    assert features.shape == (2, LEXICON_FEATURES)
    assert summed(features) == pytest.approx([1.9 - 2.5, 3.1], abs=1e-5)
    up, down, largest, smallest, balance = features[0, 1:].tolist()
    assert up == pytest.approx(float(torch.tensor(1.9 / 4).tanh()))
    assert down == pytest.approx(float(torch.tensor(2.5 / 4).tanh()))
    assert (largest, smallest) == (pytest.approx(1.9 / 4), pytest.approx(-2.5 / 4))
    assert balance == pytest.approx(-0.6 / 5.4)
    assert features.abs().max() <= 1


def test_a_negation_turns_what_follows_within_three_words(read):
    said = read(
        "not good", "not a very good", "not a very very good", "good not", "isn't bad", "isn’t bad", "not not good"
    )

    turned = -0.74 * 1.9
    assert summed(said) == pytest.approx([turned, turned, 1.9, 1.9, 0.74 * 2.5, 0.74 * 2.5, turned], abs=1e-5)


def test_a_negation_has_no_rating_of_its_own(read, source):
    assert read_ratings(source)["not"] == -1.0
    assert summed(read("not")) == [0]


def test_words_nobody_rated_and_empty_texts_say_nothing(read):
    features = read("zebra crossing", "", "   ", "?")

    assert not features.any()
    assert not torch.signbit(features[0, 0])
    assert read("").shape == (1, LEXICON_FEATURES)


def test_what_else_is_in_the_batch_changes_nothing(read):
    texts = ["bad", "bad bad", "great", "not good at all said nobody", ""]
    together = read(*texts)

    for text, row in zip(texts, together, strict=True):
        torch.testing.assert_close(read(text)[0], row, atol=1e-6, rtol=0)
    assert together[0, 3] == 0  # the largest rating of a text of bad words alone, padded or not


def test_the_tokenizer_cuts_emoticons_contractions_and_hyphens(words):
    def cut(text):
        return words.encode(text).tokens

    assert cut("Good:) isn't it") == ["good", ":)", "isn't", "[UNK]"]
    assert cut("DON’T, self-made!") == ["don't", "[UNK]", "self-made", "[UNK]"]
    assert cut("bad :-( 'good'") == ["bad", ":-(", "[UNK]", "good", "[UNK]"]
    assert cut("") == []


@pytest.mark.parametrize("length", [1, 2, 9])
def test_the_exported_form_agrees_for_any_batch_and_length(lexicon, length):
    batch, tokens = Dim("batch", min=1), Dim("tokens", min=1)
    example = torch.randint(0, 10, (3, 11)), torch.ones(3, 11, dtype=torch.bool)
    program = export(lexicon, example, dynamic_shapes=({0: batch, 1: tokens}, {0: batch, 1: tokens})).module()

    ids = torch.randint(0, lexicon.rating.shape[0], (4, length), generator=torch.Generator().manual_seed(length))
    mask = torch.arange(length) < torch.tensor([length, 1, max(length - 1, 0), 0])[:, None]
    torch.testing.assert_close(program(ids, mask)[0], lexicon(ids, mask)[0])


def test_every_tap_asked_for_is_given(source):
    family = Lexicon({"vocab": "w", "vocab_size": 5})

    assert len(family.build(("ratings", "ratings"))(torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3).bool())) == 2
    assert family.taps() == {"ratings": "vec.feat[B,D:6]:f32"}
    assert family.averages() == {}


@pytest.mark.parametrize(
    "changes", [{"window": 0}, {"largest": 0.0}, {"negation": 2.0}, {"vocab_size": 0}, {"size": 3}]
)
def test_a_config_that_means_nothing_is_refused(changes):
    with pytest.raises(BadManifest):
        Lexicon({"vocab": "w", "vocab_size": 5, **changes})


def test_a_list_that_is_none_is_refused_with_its_line(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("good\t1.0\n\nbad\n")

    with pytest.raises(BadWeights, match=r"words\.txt line 3 is not a word and its rating"):
        read_ratings(path)


def test_the_vocabulary_begins_with_the_unknown_word_and_holds_each_once(source):
    found = list(vocabulary(read_ratings(source)))

    assert found[0] == "[UNK]"
    assert len(found) == len(set(found))
    assert set(NEGATIONS) <= set(found)
    assert found[1:] == sorted(found[1:])
