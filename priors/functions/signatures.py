"""The types of the function priors, without their code: what each takes and gives for a config. Pure Python.

The checker types a graph of functions without numpy or torch, so their lengths are written here a second time; a test
compares every row with its class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from priors.errors import BadType, UnknownFunction
from priors.functions import _grids as grids
from priors.functions import _ports as ports
from priors.functions._formulas import formula_gives, learns_constants, ode_gives
from priors.functions._ports import Config
from priors.types import PortType, parse


@dataclass(frozen=True)
class Signature:
    """The ports of one function.

    host     whether it reads raw values
    fitted   whether it learns buffers from the training rows
    takes    what must arrive, given what is there: adapters make one from the other
    gives    what comes out, given the config and what arrives
    trained  whether, with this config, it has constants that are trained with what comes after it
    """

    host: bool
    fitted: bool
    takes: Callable[[PortType], PortType]
    gives: Callable[[Config, PortType], PortType]
    trained: Callable[[Config], bool] = lambda config: False


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
    return _grid_of(raw, lambda config, in_type: ports.features(length(config)))


def _grid_of(raw: str, made: Callable[[Config, PortType], PortType]) -> Signature:
    """A function of raw values that gives what `made` says."""
    wanted = parse(raw)

    def gives(config: Config, in_type: PortType) -> PortType:
        if in_type.kind != wanted.kind:
            raise BadType(f"{in_type} is not {wanted}. Feed this function a {wanted.modality} column.")
        return made(config, in_type)

    return Signature(host=True, fitted=False, takes=lambda _: wanted, gives=gives)


def _present(config: Config, in_type: PortType) -> PortType:
    if not in_type.is_raw:
        raise BadType(f"{in_type} is not raw. Feed present a column of texts, images, recordings or series.")
    return ports.features(1)


TEXT, IMAGE, AUDIO, SERIES = "text.raw[B]:str", "image.raw[B]:u8", "audio.raw[B]:f32", "series.raw[B]:f32"

_ROWS = Signature(host=False, fitted=False, takes=ports.row, gives=ports.columns)
_FITTED = replace(_ROWS, fitted=True)

_SIGNATURES: Mapping[str, Signature] = {
    "char_ngrams": _host(TEXT, lambda c: ports.integer(c, "dim", 4_096)),
    "word_ngrams": _host(TEXT, lambda c: ports.integer(c, "dim", 4_096)),
    "text_statistics": _host(TEXT, lambda _: 26),
    "pixels": _host(IMAGE, ports.pixels),
    "oriented_gradients": _host(IMAGE, ports.oriented_gradients),
    "color_histogram": _host(IMAGE, ports.color_histogram),
    "mfcc_statistics": _host(AUDIO, lambda c: ports.checked(3 * ports.integer(c, "n_mfcc", 20), c)),
    "log_mel_statistics": _host(AUDIO, lambda c: ports.checked(3 * ports.integer(c, "n_mels", 40), c)),
    "present": Signature(host=True, fitted=False, takes=lambda given: given, gives=_present),
    "known": replace(_ROWS, gives=lambda config, given: ports.features(1)),
    "fill": _FITTED,
    "standardize": replace(_FITTED, gives=ports.standardized),
    "quantile": _FITTED,
    "block_norm": replace(_FITTED, gives=ports.block),
    "pca": replace(_FITTED, gives=ports.a_row(ports.components)),
    "whiten": replace(_FITTED, gives=ports.block),
    "fourier_features": replace(_ROWS, gives=ports.fourier),
    "random_features": replace(_ROWS, gives=ports.sized(lambda c: ports.integer(c, "m", 256))),
    "nystrom": replace(_FITTED, gives=ports.sized(lambda c: ports.integer(c, "k", 64))),
    "rbf": replace(_FITTED, gives=ports.sized(lambda c: ports.integer(c, "k", 32))),
    "polynomial": replace(_ROWS, gives=ports.a_row(ports.monomials)),
    "spline": replace(_FITTED, gives=ports.a_row(ports.bumps)),
    "positional": replace(_ROWS, gives=ports.a_row(ports.waves)),
    "spherical_harmonics": replace(_ROWS, gives=ports.a_row(ports.harmonics)),
    "spectral_moments": _host(AUDIO, lambda _: 27),
    "image_grid": _grid_of(IMAGE, grids.image_grid),
    "series_grid": _grid_of(SERIES, grids.series_grid),
    "dct": Signature(False, False, grids.takes_grid("image.pixels", "series.num", "vec.feat"), grids.dct),
    "wavelet_scattering": Signature(False, False, grids.takes_grid("image.pixels", "series.num"), grids.scattering),
    "group_average": Signature(
        False, False, grids.takes_grid("image.pixels", "series.num", "vec.feat"), grids.group_average
    ),
    "canonicalize": Signature(
        False, False, grids.takes_grid("image.pixels", "series.num", "vec.feat"), grids.canonicalize
    ),
    "series_statistics": Signature(False, False, grids.takes_grid("series.num"), grids.series_statistics),
    "rocket": Signature(False, True, grids.takes_grid("series.num"), grids.rocket),
    "formula": replace(_ROWS, gives=formula_gives, trained=learns_constants),
    "ode_step": replace(_ROWS, gives=ode_gives, trained=learns_constants),
}

FUNCTION_IDS = tuple(_SIGNATURES)
