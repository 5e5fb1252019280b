"""The function priors of the starter catalogue: registered functions with their default configs."""

from dataclasses import dataclass

TABLE = "tab.num[B,C]:f32"
"""Columns of numbers. The functions offered for it also work on features inside a composition."""


@dataclass(frozen=True)
class FunctionPrior:
    """One function prior; its config is what the function's class takes by default.

    takes   the port type it is offered for; None is what the function itself says
    """

    function: str
    summary: str
    tags: tuple[str, ...]
    citations: tuple[str, ...] = ()
    takes: str | None = None

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
    ),
)
