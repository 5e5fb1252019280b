"""Sounds that are made here, as no starter package carries recordings: voices by formants, and played notes.

A voice is a train of pulses through resonances (Klatt 1980, "Software for a cascade/parallel formant synthesizer");
vowels differ by where their formants lie, speakers by pitch, length of the vocal tract and breath.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.history.problems import Problem, Source, where

Wave = NDArray[np.float64]

RATE = 16_000
VOICES, NOTES = 360, 320
FORMANTS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
"""Of men, in Hz (Peterson & Barney 1952)."""

SPEAKERS = 6


def voices(scratch: Path) -> Source:
    """A syllable or two of one vowel, by one of six made-up speakers, with a pitch that rises or falls."""
    rng = np.random.default_rng(0)
    pitch = np.geomspace(95, 230, SPEAKERS)
    tract = np.array([0.92, 1.04, 0.97, 1.12, 1.06, 1.2])
    breath = np.array([0.02, 0.1, 0.05, 0.16, 0.03, 0.08])
    recordings, vowels, speakers, tones = [], [], [], []
    for _ in range(VOICES):
        vowel, speaker, rises = str(rng.choice(list(FORMANTS))), int(rng.integers(SPEAKERS)), bool(rng.integers(2))
        length = int(RATE * rng.uniform(0.9, 1.3))
        bend = rng.uniform(1.08, 1.3) ** (1 if rises else -1)
        f0 = pitch[speaker] * np.exp(rng.normal(0, 0.08)) * np.geomspace(bend**-0.5, bend**0.5, length)
        source = np.diff(np.floor(np.cumsum(f0) / RATE), prepend=0.0) + rng.normal(0, breath[speaker], length)
        sound = source
        for formant in FORMANTS[vowel]:
            sound = _resonance(sound, formant * tract[speaker] * np.exp(rng.normal(0, 0.05)), 60 + 0.05 * formant)
        recordings.append(_finished(sound, rng))
        vowels.append(vowel)
        speakers.append(f"speaker {speaker}")
        tones.append("rises" if rises else "falls")
    rows = np.arange(VOICES)
    pair = where(vowels, "o", "u")
    problems = (
        Problem("voices/vowel", "phoneme", "Which of five vowels a synthetic voice says", rows, vowels),
        Problem("voices/speaker", "speaker", "Which of six synthetic speakers it is", rows, speakers),
        Problem("voices/tone", "pitch", "Does the pitch of a synthetic voice rise or fall", rows, tones),
        Problem("voices/o-or-u", "phoneme", "Does a synthetic voice say o or u", pair, [vowels[row] for row in pair]),
    )
    return Source("voices", {"path": _write(scratch / "voices", recordings)}, problems, {"path": "audio"})


def notes(scratch: Path) -> Source:
    """Chords of one timbre in noise: which waveform, major or minor, slow or quick."""
    rng = np.random.default_rng(1)
    recordings, timbres, chords, speeds = [], [], [], []
    shapes: dict[str, Callable[[Wave], Wave]] = {
        "sine": lambda phase: np.sin(2 * np.pi * phase),
        "square": lambda phase: np.sign(np.sin(2 * np.pi * phase)),
        "saw": lambda phase: 2 * (phase % 1) - 1,
        "triangle": lambda phase: 2 * np.abs(2 * (phase % 1) - 1) - 1,
    }
    for _ in range(NOTES):
        timbre, minor, quick = str(rng.choice(list(shapes))), bool(rng.integers(2)), bool(rng.integers(2))
        length = int(RATE * rng.uniform(1.0, 1.4))
        at = np.arange(length) / RATE
        root = 220 * 2 ** (rng.integers(-6, 7) / 12)
        steps = (0, 3 if minor else 4, 7)
        sound = np.sum([shapes[timbre](root * 2 ** (step / 12) * at + rng.uniform()) for step in steps], axis=0)
        rate = rng.uniform(4.5, 7) if quick else rng.uniform(1.8, 3.2)
        sound = sound * np.exp(-3.0 * ((at * rate + rng.uniform()) % 1)) + rng.normal(0, 0.25, length)
        recordings.append(_finished(sound, rng))
        timbres.append(timbre)
        chords.append("minor" if minor else "major")
        speeds.append("quick" if quick else "slow")
    rows = np.arange(NOTES)
    problems = (
        Problem("notes/timbre", "timbre", "Which of four waveforms a chord is played with", rows, timbres),
        Problem("notes/mode", "harmony", "Is a chord major or minor", rows, chords),
        Problem("notes/speed", "rhythm", "Are notes repeated slowly or quickly", rows, speeds),
    )
    return Source("notes", {"path": _write(scratch / "notes", recordings)}, problems, {"path": "audio"})


SOURCES: dict[str, Callable[[Path], Source]] = {"voices": voices, "notes": notes}


def _resonance(sound: Wave, frequency: float, width: float) -> Wave:
    """The sound through one resonance of a two-pole filter with gain 1 at 0 Hz."""
    from scipy.signal import lfilter

    r = np.exp(-np.pi * width / RATE)
    b, c = 2 * r * np.cos(2 * np.pi * frequency / RATE), -r * r
    return np.asarray(lfilter([1 - b - c], [1, -b, -c], sound))


def _finished(sound: Wave, rng: np.random.Generator) -> Wave:
    """Faded in and out, at a random loudness, with a little noise of the room."""
    fade = np.minimum(1.0, np.minimum(np.arange(len(sound)), np.arange(len(sound))[::-1]) / (0.03 * RATE))
    loud = sound / np.abs(sound).max() * fade * rng.uniform(0.3, 0.9)
    return np.asarray(np.clip(loud + rng.normal(0, 0.004, len(sound)), -1, 1))


def _write(folder: Path, recordings: list[Wave]) -> list[str]:
    """The recordings as WAV files, written unless they are there."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04}.wav" for number in range(len(recordings))]
    for path, sound in zip(paths, recordings, strict=True):
        if not path.is_file():
            fresh = path.with_suffix(".part")
            soundfile.write(fresh, sound.astype(np.float32), RATE, format="WAV", subtype="PCM_16")
            fresh.replace(path)
    return [str(path) for path in paths]
