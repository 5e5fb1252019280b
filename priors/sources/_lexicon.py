"""VADER's word list as a network's files: ratings and negations as tensors, words as a tokenizer."""

from collections.abc import Iterator
from pathlib import Path

from priors.errors import BadWeights
from priors.weights import save_weights

UNKNOWN = "[UNK]"

_NEGATIONS = """
    not no never none nobody nothing neither nor nowhere cannot without hardly barely scarcely rarely seldom despite
    ain't aren't can't couldn't daren't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't needn't
    oughtn't shan't shouldn't wasn't weren't won't wouldn't dont cant wont didnt doesnt isnt wasnt
"""
"""English words that deny what follows. Written here; what they do to a rating is the architecture's."""
NEGATIONS = frozenset(_NEGATIONS.split())

_PIECES = r"[\p{L}\p{N}](?:[\p{L}\p{N}'’-]*[\p{L}\p{N}])?|[^\p{L}\p{N}\s]+"
"""A word with inner apostrophes and hyphens, or a run of marks: an emoticon is one."""


def read_ratings(source: Path) -> dict[str, float]:
    """Word -> mean rating, from the tab-separated list. Raises BadWeights for a line that is not one."""
    found = {}
    for number, line in enumerate(source.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            word, rating, *_ = line.split("\t")
            found[word.lower()] = float(rating)
        except ValueError as err:
            raise BadWeights(f"{source.name} line {number} is not a word and its rating. Install it again.") from err
    return found


def vocabulary(ratings: dict[str, float]) -> Iterator[str]:
    """The words in the order of their ids."""
    yield UNKNOWN
    yield from sorted({*ratings, *NEGATIONS})


def write_ratings(source: Path, target: Path) -> None:
    """model.safetensors: `rating` and `negates`, one number a word."""
    import torch

    ratings = read_ratings(source)
    words = list(vocabulary(ratings))
    save_weights(
        {
            "rating": torch.tensor([0.0 if word in NEGATIONS else ratings.get(word, 0.0) for word in words]),
            "negates": torch.tensor([float(word in NEGATIONS) for word in words]),
        },
        target,
    )


def write_words(source: Path, target: Path) -> None:
    """tokenizer.json: lower case, cut into words and runs of marks."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    words = {word: i for i, word in enumerate(vocabulary(read_ratings(source)))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace("’", "'")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), "removed", invert=True)
    target.write_text(tokenizer.to_str(), encoding="utf-8")
