"""The function priors of the starter catalogue: registered functions with their configs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TABLE = "tab.num[B,C]:f32"
"""Columns of numbers. The functions offered for it also work on features inside a composition."""

GRID = "image.pixels[B,C:1,H:32,W:32]:f32"
"""What `image_grid` gives."""

SERIES = "series.num[B,T:128,C:1]:f32"
"""What `series_grid` gives."""


@dataclass(frozen=True)
class FunctionPrior:
    """One function prior.

    takes   the port type it is offered for; None is what the function itself says
    config  what differs from what the function's class takes by default
    """

    function: str
    summary: str
    tags: tuple[str, ...]
    citations: tuple[str, ...] = ()
    takes: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.function.replace("_", "-")


FUNCTION_PRIORS = (
    FunctionPrior(
        "char_ngrams",
        "Which short runs of characters a text contains: spelling, in any language, without a vocabulary.",
        ("text", "spelling", "any-language"),
        ("Weinberger et al. 2009, Feature hashing for large scale multitask learning, arXiv:0902.2206",),
    ),
    FunctionPrior(
        "word_ngrams",
        "Which words and pairs of words a text contains, without a vocabulary.",
        ("text", "words"),
        ("Weinberger et al. 2009, Feature hashing for large scale multitask learning, arXiv:0902.2206",),
    ),
    FunctionPrior(
        "text_statistics",
        "Numbers read off a text: lengths, capitals, digits, marks, questions, links.",
        ("text", "style"),
    ),
    FunctionPrior(
        "pixels",
        "The image itself on a coarse grid: where it is light and where dark.",
        ("image", "aligned"),
    ),
    FunctionPrior(
        "oriented_gradients",
        "Histograms of edge directions in the cells of a grid: shape by outline.",
        ("image", "shape"),
        ("Dalal and Triggs 2005, Histograms of oriented gradients for human detection, CVPR",),
    ),
    FunctionPrior(
        "color_histogram",
        "How much of an image has which color, wherever it is.",
        ("image", "color"),
        ("Swain and Ballard 1991, Color indexing, IJCV 7(1)",),
    ),
    FunctionPrior(
        "mfcc_statistics",
        "Mean, spread and change of mel-frequency cepstral coefficients: timbre.",
        ("audio", "timbre"),
        ("Davis and Mermelstein 1980, Comparison of parametric representations, IEEE TASSP 28(4)",),
    ),
    FunctionPrior(
        "log_mel_statistics",
        "Mean, spread and change of the power in each mel band: how loud, at which pitches, how much that varies.",
        ("audio", "spectrum"),
    ),
    FunctionPrior(
        "standardize",
        "Each column minus its mean, divided by its spread, as fitted on the training rows.",
        ("tab", "scaling"),
        takes=TABLE,
    ),
    FunctionPrior(
        "quantile",
        "Each column replaced by its rank among the training rows, on a normal scale.",
        ("tab", "scaling", "robust"),
        takes=TABLE,
    ),
    FunctionPrior(
        "fourier_features",
        "Sines and cosines of random combinations of the columns: smooth curves and interactions for a linear head.",
        ("tab", "kernel"),
        ("Rahimi and Recht 2007, Random features for large-scale kernel machines, NIPS",),
        takes=TABLE,
        config={"m": 512, "scale": 0.7},
    ),
    FunctionPrior(
        "pca",
        "The few directions along which the training rows spread most.",
        (
            "tab",
            "scaling",
            "compression",
        ),
        ("Hotelling 1933, Analysis of a complex of statistical variables into principal components",),
        takes=TABLE,
    ),
    FunctionPrior(
        "whiten",
        "Columns made uncorrelated and of equal spread, as near as possible to what they were.",
        (
            "tab",
            "scaling",
        ),
        ("Kessy, Lewin and Strimmer 2018, Optimal whitening and decorrelation, The American Statistician 72(4)",),
        takes=TABLE,
    ),
    FunctionPrior(
        "random_features",
        "Answers to random questions about the columns, which approach a kernel: Gaussian, Laplace or relu.",
        (
            "tab",
            "kernel",
        ),
        (
            "Rahimi and Recht 2007, Random features for large-scale kernel machines, NIPS",
            "Yu et al. 2016, Orthogonal random features, arXiv:1610.09072",
            "Cho and Saul 2009, Kernel methods for deep learning, NIPS",
        ),
        takes=TABLE,
    ),
    FunctionPrior(
        "nystrom",
        "A kernel by its values at some training rows: exact there, near elsewhere.",
        (
            "tab",
            "kernel",
        ),
        ("Williams and Seeger 2001, Using the Nystroem method to speed up kernel machines, NIPS",),
        takes=TABLE,
    ),
    FunctionPrior(
        "rbf",
        "How near a row is to each of some typical rows.",
        (
            "tab",
            "kernel",
        ),
        ("Moody and Darken 1989, Fast learning in networks of locally-tuned processing units",),
        takes=TABLE,
    ),
    FunctionPrior(
        "polynomial",
        "Products of columns: curves and interactions for a linear head.",
        (
            "tab",
            "interactions",
        ),
        ("Gergonne 1815, Application de la methode des moindres quarres a l'interpolation des suites",),
        takes=TABLE,
    ),
    FunctionPrior(
        "spline",
        "Each column as a few smooth bumps, so that a linear head draws any smooth curve of it.",
        (
            "tab",
            "smooth",
        ),
        ("Eilers and Marx 1996, Flexible smoothing with B-splines and penalties, Statistical Science 11(2)",),
        takes=TABLE,
    ),
    FunctionPrior(
        "positional",
        "Each column as waves of many lengths: near and far both show.",
        (
            "tab",
            "position",
        ),
        (
            "Vaswani et al. 2017, Attention is all you need, arXiv:1706.03762",
            "Mildenhall et al. 2020, NeRF, arXiv:2003.08934",
        ),
        takes=TABLE,
    ),
    FunctionPrior(
        "spherical_harmonics",
        "Waves on the sphere: smooth functions of a direction in space.",
        (
            "tab",
            "geometry",
        ),
        ("Sloan 2013, Efficient spherical harmonic evaluation, JCGT 2(2)",),
        takes="tab.num[B,C:3]:f32",
    ),
    FunctionPrior(
        "dct",
        "The coarse shape of an image, a series or a row in few numbers.",
        (
            "image",
            "series",
            "compression",
        ),
        ("Ahmed, Natarajan and Rao 1974, Discrete cosine transform, IEEE Transactions on Computers",),
        takes=GRID,
    ),
    FunctionPrior(
        "wavelet_scattering",
        "How much of each wavelength and direction there is and how it varies, stable to small shifts.",
        (
            "image",
            "series",
            "texture",
        ),
        (
            "Mallat 2012, Group invariant scattering, arXiv:1101.2286",
            "Bruna and Mallat 2013, Invariant scattering convolution networks, arXiv:1203.1513",
            "Anden and Mallat 2014, Deep scattering spectrum, arXiv:1304.6763",
        ),
        takes=GRID,
    ),
    FunctionPrior(
        "group_average",
        "What does not change when an image is mirrored or turned, or parts change places.",
        (
            "symmetry",
            "image",
            "series",
        ),
        ("Yarotsky 2018, Universal approximations of invariant maps by neural networks, arXiv:1804.10306",),
        takes="vec.feat[B,D:2]:f32",
    ),
    FunctionPrior(
        "canonicalize",
        "Always the same one of all the ways a value can be mirrored, turned or ordered.",
        (
            "symmetry",
            "image",
            "series",
        ),
        ("Kaba et al. 2023, Equivariance with learned canonicalization functions, arXiv:2211.06489",),
        takes="vec.feat[B,D:2]:f32",
    ),
    FunctionPrior(
        "spectral_moments",
        "Sound in plain numbers: how loud, how bright, how noisy, how often it crosses zero.",
        (
            "audio",
            "spectrum",
        ),
        (
            "Tzanetakis and Cook 2002, Musical genre classification of audio signals, IEEE TSAP 10(5)",
            "Peeters 2004, A large set of audio features for sound description",
        ),
    ),
    FunctionPrior(
        "image_grid",
        "The image itself as a small square tensor: where functions of images begin.",
        (
            "image",
            "aligned",
        ),
    ),
    FunctionPrior(
        "series_grid",
        "A series as a tensor of one length: where functions of series begin.",
        (
            "series",
            "aligned",
        ),
    ),
    FunctionPrior(
        "series_statistics",
        "Series in plain numbers: level, spread, shape, trend, memory and rhythm of each channel.",
        (
            "series",
            "statistics",
        ),
        ("Lubba et al. 2019, catch22: canonical time-series characteristics, arXiv:1901.10200",),
        takes=SERIES,
    ),
    FunctionPrior(
        "rocket",
        "How often each of very many small patterns occurs in a series, at many widths.",
        (
            "series",
            "shape",
        ),
        ("Dempster, Schmidt and Webb 2021, MiniRocket, arXiv:2012.08791",),
        takes=SERIES,
    ),
    FunctionPrior(
        "formula",
        "What is known about the columns, written down, with units.",
        (
            "tab",
            "physics",
        ),
        takes="tab.num[B,C:1]:f32{cols=x}",
    ),
    FunctionPrior(
        "ode_step",
        "The state some time later, by the equations that move it.",
        (
            "tab",
            "physics",
            "dynamics",
        ),
        ("Hairer, Norsett and Wanner 1993, Solving ordinary differential equations I",),
        takes="tab.num[B,C:1]:f32{cols=x}",
    ),
)
