"""A composition as a plain Hugging Face repository, which transformers and sentence-transformers load alone.

    report = export_plain(model, "topics")      # config.json, model.safetensors, tokenizer, modules.json, README.md
    SentenceTransformer("topics").encode([…])   # the composition's output, a row a text

Merges and splices are computed (composer.merge), deltas folded into the weights, affine maps into one matrix, a head's
temperature into its weights: the softmax of what comes out is `predict_proba`. A head on the first token becomes a
model for sequence classification, for families whose own head can be made to pass its input through; anything else
becomes modules of sentence-transformers. What was written is loaded again with transformers and compared.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from composer._export_trace import TEXT, TOLERANCE
from composer._plain_chain import Affine, Chain, chain_of
from composer._retok import prior_with_vocabulary
from composer.errors import NotReady
from composer.export import HasLowered, scratch_beside
from composer.license import Use, Verdict, judge, notice
from composer.license_texts import from_library, texts
from composer.lower import Lowered
from composer.nested import ARCHITECTURE
from priors.architectures.transformers_text import FAMILIES, TransformersText
from priors.errors import AppError, UserError
from priors.licenses import TABLE, alternatives, normalise
from priors.load import Prior
from priors.weights import save_weights

SMALL = 2.0**-14
"""A tanh passes its input through when it is this small: its relative error is x^2 / 3, 1e-6 for inputs up to 30."""

_PASSING = {
    "bert": ("bert.pooler.dense", "classifier"),
    "roberta": ("classifier.dense", "classifier.out_proj"),
    "xlm-roberta": ("classifier.dense", "classifier.out_proj"),
    "mpnet": ("classifier.dense", "classifier.out_proj"),
}
"""Families whose classification head is tanh(dense(first token)) and then a matrix: the names of both."""

_TEXTS = [TEXT[start : start + length] for start, length in ((0, 90), (4, 3), (20, 40), (8, 60))]


@dataclass(frozen=True)
class PlainReport:
    """What was written. `loads_as` is the class to load it with; `max_abs_diff` to the composition's own output."""

    path: Path
    loads_as: str
    max_abs_diff: float


def export_plain(composition: HasLowered | Lowered, path: Path | str) -> PlainReport:
    """Write the repository into the new folder `path`. It appears whole, after the comparison, or not at all.

    Raises UserError naming the node or the license that stands in the way, NotReady before a fit, AppError when what
    was written gives something else.
    """
    lowered = composition if isinstance(composition, Lowered) else composition.lowered
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} is there already. Name a new folder.")
    if not lowered.lock.ready and not isinstance(composition, Lowered):
        raise NotReady(f"{lowered.lock.name!r} was never fitted. Run fit first, then export.")
    verdict = _allowed(lowered)
    chain = chain_of(lowered)
    with scratch_beside(path) as scratch:
        folder = scratch / "made"
        folder.mkdir()
        loads_as = _Repository(lowered, chain, folder).write()
        wanted = _ours(lowered, chain)
        difference = _difference(wanted, _theirs(folder, loads_as))
        _describe(lowered, folder, loads_as, difference, verdict)
        if path.exists():
            path.rmdir()
        folder.replace(path)
    return PlainReport(path, loads_as, difference)


def _allowed(lowered: Lowered) -> Verdict:
    """Everything becomes one set of changed parameters, so every license has to permit that."""
    verdict = judge(lowered.lock, Use(share=True))
    for part in verdict.parts:
        ways = alternatives(normalise(part.license))
        if ways and all(any(key in TABLE and TABLE[key].fine_tune is False for key in way) for way in ways):
            raise UserError(
                f"{part.name} is under {normalise(part.license)}, which does not permit publishing what was made by "
                "changing it, and a plain repository holds everything in one. Share the composition instead."
            )
    if verdict.conflicts:
        raise UserError(f"{verdict.conflicts[0]}")
    return verdict


class _Repository:
    """The files of one export, written into `folder`."""

    def __init__(self, lowered: Lowered, chain: Chain, folder: Path) -> None:
        self.lowered, self.chain, self.folder = lowered, chain, folder
        prior = _prior_of(lowered, chain)
        family = prior.architecture()
        if not isinstance(family, TransformersText) or FAMILIES[family.name].auto != "AutoModel":
            raise self._refuse("its network is none that transformers' AutoModel loads")
        self.encoder, self.family = lowered.priors.get(str(chain.encode.attrs["prior"])), family
        [self.network] = lowered.part(
            [given.slot for step in lowered.host if step.node == chain.encode.name for given in step.inputs],
            [chain.net.name],
        ).calls
        self.depth = self._depth()

    def write(self) -> str:
        affine = self.chain.stages[0] if len(self.chain.stages) == 1 else None
        passing = _PASSING.get(self.family.name)
        if self.chain.head and self.chain.pooling == "cls" and passing and isinstance(affine, Affine):
            self._tokenizer()
            self._classifier(affine, *passing)
            return "AutoModelForSequenceClassification"
        self._tokenizer()
        self._encoder()
        self._modules()
        return "SentenceTransformer"

    def _depth(self) -> int:
        tap, config = self.chain.net.attrs["tap"], self.family.config
        if tap in ("final", "cls", "last"):
            return config.depth
        if tap in config.averages():
            raise self._refuse(f"tap {tap} is a mean of layers, which no library has")
        depth = int(tap.removeprefix("layer_"))
        if depth == 0:
            raise self._refuse("tap layer_0 has no layers")
        if config.final:
            raise self._refuse(f"tap {tap} lies before the normalization that transformers puts at the end")
        return depth

    def _refuse(self, why: str) -> UserError:
        name = self.chain.net.name
        return UserError(f"node {name!r} (net) stands in the way of a plain repository: {why}. Export as onnx.")

    def _model(self, door: str, **more: Any) -> Any:
        import transformers

        kind = FAMILIES[self.family.name].library or self.family.name
        config = transformers.AutoConfig.for_model(kind, **self.family.config.settings(self.depth), **more)
        model = getattr(transformers, door).from_config(config, trust_remote_code=False)
        ours = self.network.state_dict()
        state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
        prefix = "" if door == "AutoModel" else f"{model.base_model_prefix}."
        filled = set()
        for name in state:
            [(key, _)] = self.family.key_map({name.removeprefix(prefix): state[name]}).items()
            if name.startswith(prefix) and key in ours:
                state[name] = ours[key]
                filled.add(key)
        missing = sorted(ours.keys() - filled)
        if missing:
            raise AppError(f"{self.family.name}: transformers has no place for {missing[0]!r}.")
        model.load_state_dict(state)
        return model.eval()

    def _save(self, model: Any) -> None:
        model.config.architectures = [type(model).__name__]
        model.config.dtype = "float32"
        model.config.to_json_file(self.folder / "config.json")
        state = {name: value.float().contiguous() for name, value in model.state_dict().items()}
        save_weights(state, self.folder / "model.safetensors")

    def _encoder(self) -> None:
        self._save(self._model("AutoModel"))

    def _classifier(self, affine: Affine, dense: str, out: str) -> None:
        assert self.chain.head is not None  # noqa: S101
        labels = self.chain.head.attrs.get("labels") or [self.chain.head.attrs["target"]]
        several = self.chain.head.attrs.get("loss") == "binary_cross_entropy"
        kind = f"{'multi' if several else 'single'}_label_classification" if len(labels) > 1 else "regression"
        names = dict(enumerate(labels))
        model = self._model(
            "AutoModelForSequenceClassification",
            id2label=names,
            label2id={label: at for at, label in names.items()},
            problem_type=kind,
        )
        width = self.family.config.width
        with torch.no_grad():
            model.get_submodule(dense).weight.copy_(torch.eye(width) * SMALL)
            model.get_submodule(out).weight.copy_(affine.weight / SMALL)
            model.get_submodule(out).bias.copy_(affine.bias)
        self._save(model)

    def _tokenizer(self) -> None:
        import transformers
        from tokenizers import Tokenizer

        encoder: Any = self.encoder.encoder()
        content, spec = encoder.as_json()
        tokenizer = Tokenizer.from_str(content.decode())
        tokenizer.no_padding()
        tokenizer.no_truncation()
        special = {
            key: text
            for key, texts in _SPECIAL.items()
            if (text := next((one for one in texts if tokenizer.token_to_id(one) is not None), None))
        }
        made: Any = transformers.PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=tokenizer,
            model_max_length=spec["max_tokens"],
            padding_side="right",
            model_input_names=["input_ids", "attention_mask"],
            **{**special, "pad_token": tokenizer.id_to_token(spec["pad_id"])},
        )
        made.save_pretrained(self.folder)
        settings = self.folder / "tokenizer_config.json"
        said = json.loads(settings.read_text())
        _write_json(settings, {**said, "tokenizer_class": "PreTrainedTokenizerFast"})

    def _modules(self) -> None:
        spec = self.encoder.encoder().spec
        _write_json(
            self.folder / "sentence_bert_config.json", {"max_seq_length": spec["max_tokens"], "do_lower_case": False}
        )
        _write_json(self.folder / "config_sentence_transformers.json", {"prompts": {}, "similarity_fn_name": "cosine"})
        parts = [("", "Transformer"), ("1_Pooling", "Pooling")]
        width = self.family.config.width
        modes = {"mean": "mean_tokens", "max": "max_tokens", "cls": "cls_token", "lasttoken": "lasttoken"}
        pooling = {f"pooling_mode_{mode}": kind == self.chain.pooling for kind, mode in modes.items()}
        (self.folder / "1_Pooling").mkdir()
        _write_json(self.folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **pooling})
        for number, stage in enumerate(self.chain.stages, start=2):
            name = f"{number}_{'Dense' if isinstance(stage, Affine) else 'Normalize'}"
            parts.append((name, name.partition("_")[2]))
            (self.folder / name).mkdir()
            if isinstance(stage, Affine):
                outputs, inputs = stage.weight.shape
                _write_json(
                    self.folder / name / "config.json",
                    {
                        "in_features": inputs,
                        "out_features": outputs,
                        "bias": True,
                        "activation_function": "torch.nn.modules.linear.Identity",
                    },
                )
                state = {"linear.weight": stage.weight.float(), "linear.bias": stage.bias.float()}
                save_weights(state, self.folder / name / "model.safetensors")
            else:
                _write_json(self.folder / name / "config.json", {})  # folders that are empty do not travel
        modules = [
            {"idx": idx, "name": str(idx), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for idx, (path, kind) in enumerate(parts)
        ]
        _write_json(self.folder / "modules.json", modules)


_SPECIAL = {
    "unk_token": ("[UNK]", "<unk>", "<|endoftext|>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}


def _prior_of(lowered: Lowered, chain: Chain) -> Prior:
    """The prior whose architecture the network has, under deltas and the first of merged ones; with its vocabulary."""
    node, words = lowered.lock.node(dict(chain.net.inputs)["w"]), None
    while node.op in ("delta", "merge", "splice", "retok"):
        words = words or (node if node.op == "retok" else None)
        node = lowered.lock.node(node.sources[0])
    if node.op != "load" or node.attrs.get("arch") == ARCHITECTURE:
        raise UserError(
            f"node {node.name!r} ({node.op}) stands in the way of a plain repository: its weights are not those of "
            "priors, merged or with deltas. Export as onnx."
        )
    prior = lowered.priors.get(str(node.attrs["prior"]))
    if words is None:
        return prior
    return prior_with_vocabulary(prior, lowered.priors.get(str(words.attrs["prior"])), words.attrs["vocab"])


def _ours(lowered: Lowered, chain: Chain) -> Tensor:
    """(texts, K): the composition's own output for a few texts, a head's divided by its temperature."""
    node = next(iter(lowered.lock.outputs.values()))
    source = chain.encode.sources[0]
    found = torch.from_numpy(lowered.features({source: _TEXTS}, [node])[node])
    if chain.head and "labels" in chain.head.attrs:
        return found / lowered.learned[node].get_buffer("temperature")
    return found


def _theirs(folder: Path, loads_as: str) -> Tensor:
    """The same by the files alone, with transformers, and arithmetic for the modules of sentence-transformers."""
    import transformers

    door = "AutoModel" if loads_as == "SentenceTransformer" else loads_as
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    model = getattr(transformers, door).from_pretrained(str(folder), local_files_only=True).eval()
    with torch.no_grad():
        given = tokenizer(_TEXTS, padding=True, truncation=True, return_tensors="pt")
        if door != "AutoModel":
            logits: Tensor = model(**given).logits
            return logits
        return _after(folder, model(**given).last_hidden_state, given["attention_mask"])


def _after(folder: Path, state: Tensor, mask: Tensor) -> Tensor:
    from safetensors.torch import load_file

    modes = json.loads((folder / "1_Pooling/config.json").read_text())
    seen = mask[:, :, None].to(state.dtype)
    if modes["pooling_mode_mean_tokens"]:
        x = (state * seen).sum(1) / seen.sum(1)
    elif modes["pooling_mode_max_tokens"]:
        x = state.masked_fill(seen == 0, -torch.inf).amax(1)
    elif modes["pooling_mode_cls_token"]:
        x = state[:, 0]
    else:
        x = state[torch.arange(len(state)), mask.sum(1) - 1]
    for module in json.loads((folder / "modules.json").read_text())[2:]:
        if module["path"].endswith("Normalize"):
            x = torch.nn.functional.normalize(x, dim=-1)
        else:
            held = load_file(folder / module["path"] / "model.safetensors")
            x = x @ held["linear.weight"].T + held["linear.bias"]
    return x


def _difference(ours: Tensor, theirs: Tensor) -> float:
    difference = float((ours - theirs).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(ours.abs().max())):
        raise AppError(
            f"the plain repository gives something that differs by {difference:.2g}, more than {TOLERANCE:g}; nothing "
            "was written."
        )
    return difference


def _describe(lowered: Lowered, folder: Path, loads_as: str, difference: float, verdict: Verdict) -> None:
    lock = lowered.lock
    head = next((node for node in lock.nodes if node.op == "head"), None)
    labels = head.attrs.get("labels") if head else None
    merged = "merging weights and " if any(node.op in ("merge", "splice", "retok") for node in lock.nodes) else ""
    said = verdict.license if verdict.license and "NOASSERTION" not in verdict.license else "other"
    library = "sentence-transformers" if loads_as == "SentenceTransformer" else "transformers"
    means = (
        f"Its outputs are the logits of {len(labels)} classes ({', '.join(labels[:20])}); "
        f"their {'sigmoid' if head and head.attrs.get('loss') == 'binary_cross_entropy' else 'softmax'} is the "
        "probabilities."
        if labels
        else f"Its output is {head.attrs['target']}{' in ' + head.attrs['unit'] if 'unit' in head.attrs else ''}."
        if head
        else "Its outputs are features of a text."
    )
    lines = [
        "---", f"license: {said}", f"library_name: {library}", "---", "", f"# {lock.name}", "", means, "",
        f"Load it with `{loads_as}` of {library}. It was made from composition {lock.model or lock.structure} by "
        f"{merged}folding everything learned into the weights, and differs from it by at most {difference:.1e}. "
        f"License of the parts together: {verdict.license or 'not stated'}; NOTICE says what each asks for.", "",
    ]  # fmt: skip
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
    kept = texts(verdict, from_library(lowered.priors.library))
    (folder / "NOTICE").write_text(notice(lock.name, verdict, kept), encoding="utf-8")
    facts = {
        "composition": lock.name,
        "structure": lock.structure,
        "model": lock.model,
        "labels": labels,
        "max_abs_diff": difference,
    }
    _write_json(folder / "export.json", facts)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
