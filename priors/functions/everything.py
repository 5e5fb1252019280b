"""Imports every function prior, which registers it. To add one, write its module and name it here."""

from priors.functions import (
    block_norm,
    char_ngrams,
    color_histogram,
    fourier_features,
    log_mel_statistics,
    mfcc_statistics,
    oriented_gradients,
    pixels,
    quantile,
    standardize,
    text_statistics,
    word_ngrams,
)

__all__ = [
    "block_norm",
    "char_ngrams",
    "color_histogram",
    "fourier_features",
    "log_mel_statistics",
    "mfcc_statistics",
    "oriented_gradients",
    "pixels",
    "quantile",
    "standardize",
    "text_statistics",
    "word_ngrams",
]
