"""A network with the vocabulary of another prior: what it reads, its configuration, and its weights as outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from composer.errors import BadGraph
from priors.manifest import Definition, PriorManifest
from priors.types import PortType

if TYPE_CHECKING:
    from composer.merge.source import Output, Source
    from priors.load import Prior


def with_vocabulary(manifest: PriorManifest, donor: PriorManifest, vocab: str) -> PriorManifest:
    """`manifest` with ids of `donor`'s vocabulary. Raises BadGraph, without naming the node."""
    if manifest.architecture is None or not {"vocab", "vocab_size"} <= manifest.architecture.config.keys():
        raise BadGraph(f"{manifest.name} has no vocabulary that its configuration names. Take a text encoder.")
    if donor.architecture is None or not isinstance(size := donor.architecture.config.get("vocab_size"), int):
        raise BadGraph(f"{donor.name} does not say how many tokens it has. Name the prior of a text encoder.")
    inputs = {port: _with(t, vocab) for port, t in manifest.inputs.items()}
    ids = [t for t in inputs.values() if t.kind == "text.ids"]
    missing = next((t for t in ids if t not in donor.inputs.values()), None)
    if missing is not None or not ids:
        theirs = ", ".join(str(t) for t in donor.inputs.values())
        raise BadGraph(f"{donor.name} encodes to {theirs}, not to {missing}. Name a prior whose vocabulary it is.")
    config = {**manifest.architecture.config, "vocab": vocab, "vocab_size": size}
    return replace(manifest, inputs=inputs, architecture=Definition(manifest.architecture.id, config))


def _with(t: PortType, vocab: str) -> PortType:
    return t.with_(attrs={**dict(t.attrs), "vocab": vocab}) if t.kind == "text.ids" else t


def prior_with_vocabulary(prior: Prior, donor: Prior, vocab: str) -> Prior:
    """The prior as `with_vocabulary` changes it; its files are as they were."""
    return replace(prior, manifest=with_vocabulary(prior.manifest, donor.manifest, vocab))


def outputs_of(source: Source, before: Prior, donor: Prior, attrs: Mapping[str, Any]) -> dict[str, Output]:
    """The weights that `before` has in `source`, a row a token of `donor`'s vocabulary. None of them is made yet."""
    from composer.merge.retok import Origin, origins, retok_outputs

    rows = origins(_tokenizer(before), _tokenizer(donor))
    wanted = _size(donor)
    rows += [Origin(False, ())] * (wanted - len(rows))  # networks have rows to spare, which no token has
    if len(rows) > wanted:
        raise BadGraph(f"{donor.manifest.name} has {len(rows)} tokens and vocab_size {wanted}. Correct its prior.json.")
    return retok_outputs(source, _size(before), rows, attrs.get("fallback", "subtokens"))


def _size(prior: Prior) -> int:
    return int(prior.manifest.definition.config["vocab_size"])


def _tokenizer(prior: Prior) -> Any:
    from tokenizers import Tokenizer

    encoder: Any = prior.encoder()
    return Tokenizer.from_str(encoder.as_json()[0].decode())
