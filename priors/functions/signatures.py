"""The types of the function priors, without their code: what each takes and gives for a config. Pure Python.

The checker types a graph of functions without numpy or torch, so their lengths are written here a second time; a test
compares every row with its class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from priors.errors import BadManifest, BadType, UnknownFunction
from priors.types import MAX_DIM, Axis, Dim, PortType, parse

Config = Mapping[str, Any]

FEATURE_AXES = ("D", "C", "K", "F")
"""The axes along which a row of numbers may lie, for functions that take any."""


@dataclass(frozen=True)
class Signature:
    """The ports of one function.

    host     whether it reads raw values
    fitted   whether it learns buffers from the training rows
    takes    what must arrive, given what is there: adapters make one from the other
    gives    what comes out, given the config and what arrives
    """

    host: bool
    fitted: bool
    takes: Callable[[PortType], PortType]
    gives: Callable[[Config, PortType], PortType]


def function_signature(function: str, config: Config, in_type: PortType) -> PortType:
    """The output type of `function` with `config` on an input of `in_type`.

    Raises UnknownFunction with near names, BadManifest for a config that gives no length, BadType for an input that
    the function cannot read.
    """
    return find_signature(function).gives(config, in_type)


def find_signature(function: str) -> Signature:
    """The signature of a function id. Raises UnknownFunction with near names."""
    if function not in _SIGNATURES:
        near = get_close_matches(function, _SIGNATURES, n=3, cutoff=0.5) or sorted(_SIGNATURES)
        raise UnknownFunction(f"no function prior is called {function!r}. Nearest: {', '.join(near)}.")
    return _SIGNATURES[function]


def _host(raw: str, length: Callable[[Config], int]) -> Signature:
    """A function of raw values that gives `length` features."""
    wanted = parse(raw)

    def gives(config: Config, in_type: PortType) -> PortType:
        if in_type.kind != wanted.kind:
            raise BadType(f"{in_type} is not {wanted}. Feed this function a {wanted.modality} column.")
        return _features(length(config))

    return Signature(host=True, fitted=False, takes=lambda _: wanted, gives=gives)


def _row(in_type: PortType) -> PortType:
    """The rows of numbers that `in_type` can be made into: one feature axis beside B; anything longer is pooled."""
    if in_type.is_raw:
        raise BadType(f"{in_type} is raw, this function reads numbers. Put an encoder or a feature function before it.")
    axis = _feature_axis(in_type)
    if in_type.axis_names == ("B", axis.name):
        return in_type.with_(dtype="f32", attrs={}).in_space(None)
    return _features(axis.dim)


def _feature_axis(in_type: PortType) -> Axis:
    found = next((axis for name in FEATURE_AXES if (axis := in_type.axis(name)) is not None), None)
    if found is None:
        raise BadType(f"{in_type} has no feature axis ({', '.join(FEATURE_AXES)}). Feed this function rows of numbers.")
    return found


def _features(length: Dim) -> PortType:
    return PortType("vec", "feat", (Axis("B"), Axis("D", length)), "f32")


def _pixels(config: Config) -> int:
    return _checked(_integer(config, "size", 16) ** 2 * (1 if config.get("gray", True) else 3), config)


def _oriented_gradients(config: Config) -> int:
    """Blocks of 2 x 2 cells that overlap by one, each with 4 histograms."""
    blocks = _integer(config, "size", 48) // _integer(config, "cell", 8) - 1
    return _checked(max(blocks, 0) ** 2 * 4 * _integer(config, "orientations", 9), config)


def _color_histogram(config: Config) -> int:
    bins = config.get("bins", [8, 4, 4])
    if not isinstance(bins, list | tuple) or not all(type(n) is int for n in bins):
        raise BadManifest(f"config 'bins' is {str(bins)[:60]}. Give three whole numbers: hues, saturations, values.")
    return _checked(math.prod(bins), config)


def _columns(config: Config, in_type: PortType) -> PortType:
    """Each column by itself: the same columns, without their units."""
    return _row(in_type)


def _block(config: Config, in_type: PortType) -> PortType:
    """All columns as one block of features."""
    return _features(_feature_axis(in_type).dim)


def _standardized(config: Config, in_type: PortType) -> PortType:
    return (_block if config.get("mode") == "block" else _columns)(config, in_type)


def _fourier(config: Config, in_type: PortType) -> PortType:
    _feature_axis(in_type)
    return _features(_checked(2 * _integer(config, "m", 64), config))


def _formula(config: Config, in_type: PortType) -> PortType:
    if not isinstance(config.get("out"), str):
        raise BadManifest("function 'formula': config 'out' is not a port type. Write what the expression gives.")
    return parse(config["out"])


def _integer(config: Config, key: str, default: int) -> int:
    value = config.get(key, default)
    if type(value) is not int or not 1 <= value <= MAX_DIM:
        raise BadManifest(f"config {key!r} is {value!r}. Give a whole number from 1 to {MAX_DIM:,}.")
    return value


def _checked(length: int, config: Config) -> int:
    if not 1 <= length <= MAX_DIM:
        raise BadManifest(f"config {dict(config)} gives {length:,} features. Choose sizes that give 1 to {MAX_DIM:,}.")
    return length


TEXT, IMAGE, AUDIO = "text.raw[B]:str", "image.raw[B]:u8", "audio.raw[B]:f32"

_SIGNATURES: Mapping[str, Signature] = {
    "char_ngrams": _host(TEXT, lambda c: _integer(c, "dim", 4_096)),
    "word_ngrams": _host(TEXT, lambda c: _integer(c, "dim", 4_096)),
    "text_statistics": _host(TEXT, lambda _: 26),
    "pixels": _host(IMAGE, _pixels),
    "oriented_gradients": _host(IMAGE, _oriented_gradients),
    "color_histogram": _host(IMAGE, _color_histogram),
    "mfcc_statistics": _host(AUDIO, lambda c: _checked(3 * _integer(c, "n_mfcc", 20), c)),
    "log_mel_statistics": _host(AUDIO, lambda c: _checked(3 * _integer(c, "n_mels", 40), c)),
    "standardize": Signature(host=False, fitted=True, takes=_row, gives=_standardized),
    "quantile": Signature(host=False, fitted=True, takes=_row, gives=_columns),
    "block_norm": Signature(host=False, fitted=True, takes=_row, gives=_block),
    "fourier_features": Signature(host=False, fitted=False, takes=_row, gives=_fourier),
    "formula": Signature(host=False, fitted=False, takes=_row, gives=_formula),
}

FUNCTION_IDS = tuple(_SIGNATURES)
