"""prior.json: what a prior says about itself, and the reference that names it by content.

    {"prior": 1, "name": "all-minilm-l6-v2", "version": "1.0.0", "summary": "Sentence encoder, 6 layers of 384.",
     "kind": "network", "architecture": {"id": "bert", "config": {"hidden_size": 384}},
     "inputs": {"ids": "text.ids[B,T]:i64{mask=ids_mask,vocab=bert-uncased}"},
     "taps": {"layer_5": "text.tokens[B,T,D:384]:f32", "layer_6": "text.tokens[B,T,D:384]:f32"},
     "default_tap": "layer_6", "averages": {},
     "host": {"encoder": "tokenizer", "file": "tokenizer.json", "max_tokens": 128},
     "files": {"model.safetensors": {"sha256": "53aa51172d142c89…", "size": 90868376}},
     "parameters": 22565376, "license": {"spdx": "Apache-2.0", "file": "LICENSE"}, "fee_bp": 0, "parents": [],
     "training_data": [], "citations": [], "tags": ["text"], "origin": null}

A function prior has `"kind": "function"` and `"function": {"id", "config"}` instead of an architecture, one tap `out`,
and no weights. Reading needs neither torch nor numpy.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from priors import registry
from priors.errors import BadManifest, BadType
from priors.types import PortType, parse

FILE_NAME = "prior.json"
MAX_BYTES = 1 << 20
MAX_CONFIG_DEPTH = 8

_SLUG = r"[a-z0-9](?:[a-z0-9._-]{0,94}[a-z0-9])?"
_REF = re.compile(
    rf"(?:prior://)?(?:(?P<namespace>{_SLUG})/)?(?P<name>{_SLUG})(?:@sha256:(?P<sha256>[0-9a-f]{{4,64}}))?",
)


@dataclass(frozen=True)
class PriorRef:
    """`prior://<namespace>/<name>@sha256:<identity>`: a prior by name and content.

    People may leave out the scheme, the namespace, the hash or its end; what a program writes carries all of it.
    """

    namespace: str | None
    name: str
    sha256: str | None = None

    @classmethod
    def parse(cls, text: str | PriorRef) -> PriorRef:
        """The reference `text` writes. Raises BadManifest when it is not one."""
        if isinstance(text, PriorRef):
            return text
        match = _REF.fullmatch(text) if isinstance(text, str) and len(text) <= 400 else None
        if match is None:
            raise BadManifest(
                f"{str(text)[:100]!r} is not a prior reference. "
                "Write prior://namespace/name@sha256:hash, in lower case; the hash may be left out."
            )
        return cls(**match.groupdict())

    def __str__(self) -> str:
        return f"prior://{self.repo}" + (f"@sha256:{self.sha256}" if self.sha256 else "")

    @property
    def repo(self) -> str:
        """`namespace/name`, or the name alone where no namespace is given."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def identity(self) -> str | None:
        """`sha256:<hex>` as far as it is given, or None."""
        return f"sha256:{self.sha256}" if self.sha256 else None

    def matches(self, identity: str) -> bool:
        """Whether `identity` (`sha256:<hex>`) is the content this reference asks for."""
        return self.sha256 is None or identity.startswith(f"sha256:{self.sha256}")

    def pinned(self, identity: str) -> PriorRef:
        """The same prior with its full content hash."""
        return PriorRef(self.namespace, self.name, identity.removeprefix("sha256:"))


@dataclass(frozen=True)
class Definition:
    """An id of a closed registry with its configuration."""

    id: str
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FileInfo:
    """The content of one file: sha256 in hex, size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class License:
    """An SPDX expression, and the file of the repository that holds the text."""

    spdx: str
    file: str | None = None


@dataclass(frozen=True)
class PriorManifest:
    """A valid prior.json. Types are parsed; everything else is as written. Made by `parse_manifest`."""

    name: str
    version: str
    summary: str
    kind: Literal["network", "function"]
    inputs: Mapping[str, PortType]
    taps: Mapping[str, PortType]
    default_tap: str
    license: License
    architecture: Definition | None = None
    function: Definition | None = None
    averages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    host: Mapping[str, Any] | None = None
    files: Mapping[str, FileInfo] = field(default_factory=dict)
    parameters: int = 0
    fee_bp: int = 0
    parents: tuple[str, ...] = ()
    training_data: tuple[str, ...] = ()
    citations: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    origin: Mapping[str, Any] | None = None

    @property
    def definition(self) -> Definition:
        """The architecture or function, whichever this prior is."""
        found = self.architecture or self.function
        if found is None:
            raise BadManifest(f"prior {self.name!r} has neither architecture nor function. Give one of them.")
        return found

    @property
    def modality(self) -> str:
        """What it reads: `text`, `image`, `audio`, `tab`, …; that of its first input port."""
        return next(iter(self.inputs.values())).modality

    @property
    def weight_files(self) -> tuple[str, ...]:
        """The safetensors files, in order of name; for a network that is an ONNX file, that one."""
        if self.architecture is not None and self.architecture.id == "onnx":
            return (str(self.architecture.config.get("file")),)
        return tuple(sorted(name for name in self.files if name.endswith(".safetensors")))

    @property
    def size_bytes(self) -> int:
        """The bytes of all files together."""
        return sum(info.size for info in self.files.values())

    def tap(self, name: str | None = None) -> PortType:
        """The type of a tap, the default one without a name. Raises BadManifest with the nearest names."""
        name = self.default_tap if name is None else name
        if name not in self.taps:
            near = get_close_matches(name, self.taps, n=3) or list(self.taps)[:8]
            raise BadManifest(f"prior {self.name!r} has no tap {name!r}. Nearest: {', '.join(near)}.")
        return self.taps[name]

    def identity(self) -> str:
        """`sha256:<hex>` over what decides outputs; the name, version, words, license, price and origin do not."""
        return f"sha256:{_digest(self._meaning())}"

    def host_identity(self) -> str:
        """`sha256:<hex>` over what decides how raw values become the input ports."""
        files = self._hashes(self._host_files())
        return f"sha256:{_digest({'host': self.host, 'files': files, 'inputs': _texts(self.inputs)})}"

    def to_dict(self) -> dict[str, Any]:
        """The content of prior.json; `parse_manifest` reads it back."""
        content: dict[str, Any] = {
            "prior": 1,
            "name": self.name,
            "version": self.version,
            "summary": self.summary,
            "kind": self.kind,
            self._definition_key: {"id": self.definition.id, "config": dict(self.definition.config)},
            "inputs": _texts(self.inputs),
            "taps": _texts(self.taps),
            "averages": {name: list(parts) for name, parts in self.averages.items()},
            "default_tap": self.default_tap,
            "host": None if self.host is None else dict(self.host),
            "files": {name: {"sha256": info.sha256, "size": info.size} for name, info in self.files.items()},
            "parameters": self.parameters,
            "license": {"spdx": self.license.spdx, "file": self.license.file},
            "fee_bp": self.fee_bp,
            "parents": list(self.parents),
            "training_data": list(self.training_data),
            "citations": list(self.citations),
            "tags": list(self.tags),
            "origin": None if self.origin is None else dict(self.origin),
        }
        return content

    def to_json(self) -> str:
        """The text of prior.json, indented, ending in a newline."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"

    @property
    def _definition_key(self) -> str:
        return "architecture" if self.kind == "network" else "function"

    def _meaning(self) -> dict[str, Any]:
        return {
            "prior": 1,
            "kind": self.kind,
            self._definition_key: {"id": self.definition.id, "config": dict(self.definition.config)},
            "inputs": _texts(self.inputs),
            "taps": _texts(self.taps),
            "averages": {name: list(parts) for name, parts in self.averages.items()},
            "host": self.host,
            "files": self._hashes((*self.weight_files, *self._host_files())),
        }

    def _host_files(self) -> tuple[str, ...]:
        named = (self.host or {}).get("file")
        return (named,) if isinstance(named, str) else ()

    def _hashes(self, names: tuple[str, ...]) -> dict[str, str | None]:
        return {name: self.files[name].sha256 if name in self.files else None for name in names}


def parse_manifest(source: bytes | str | Mapping[str, Any]) -> PriorManifest:
    """The manifest in a prior.json, checked: closed keys, known ids, types that parse, files by safe names.

    Raises BadManifest (or UnknownArchitecture, UnknownFunction) naming the first wrong key and what it should be.
    """
    content = source if isinstance(source, Mapping) else _read_json(source)
    try:
        document = _Document.model_validate(content)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise BadManifest(f"{FILE_NAME}: {where}: {_reason(first)}. Correct that key.") from err
    except RecursionError as err:
        raise BadManifest(f"{FILE_NAME} is nested too deeply. Keep configs to {MAX_CONFIG_DEPTH} levels.") from err
    return document.manifest()


def read_manifest(directory: Path) -> PriorManifest:
    """The manifest of the prior in `directory`. Raises BadManifest when there is none or it is not valid."""
    path = directory / FILE_NAME
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise BadManifest(f"{path} cannot be read ({err.strerror}). A prior is a folder with a {FILE_NAME}.") from err
    return parse_manifest(data)


def _read_json(source: bytes | str) -> Mapping[str, Any]:
    if len(source) > MAX_BYTES:
        raise BadManifest(f"{FILE_NAME} has {len(source):,} bytes, the limit is {MAX_BYTES:,}. Shorten it.")
    try:
        content = json.loads(source, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as err:
        # Whatever the parser found: bytes that are not UTF-8, broken JSON, a number of 5,000 digits, 10,000 brackets.
        cause = "nested too deeply" if isinstance(err, RecursionError) else str(err)
        raise BadManifest(f"{FILE_NAME} is not valid JSON ({cause}). Write it as UTF-8 JSON.") from err
    if not isinstance(content, dict):
        raise BadManifest(f"{FILE_NAME} holds {type(content).__name__}, not an object. Start it with '{{\"prior\": 1'.")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} appears twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _reason(error: Any) -> str:
    """Our own sentences without pydantic's prefix; its own ones in lower case."""
    message = str(error["msg"]).rstrip(".")
    own = message.removeprefix("Value error, ")
    return own if own != message else message[:1].lower() + message[1:]


def _texts(types: Mapping[str, PortType]) -> dict[str, str]:
    return {name: str(t) for name, t in types.items()}


def _digest(content: Any) -> str:
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()


def _safe_path(path: str) -> str:
    if any(part in ("", ".", "..") or part.startswith(".") or part.endswith(".") for part in path.split("/")):
        raise ValueError(f"{path!r} is not a file inside the folder; use a plain relative path")
    return path


def _port_type(text: str) -> str:
    try:
        return str(parse(text))
    except BadType as err:
        raise ValueError(str(err)) from err


def _finite(value: JsonValue) -> JsonValue:
    """A config that can be hashed: no NaN or infinity, not nested beyond what a config needs."""
    level: list[JsonValue] = [value]
    for _ in range(MAX_CONFIG_DEPTH):
        if any(isinstance(item, float) and item - item != 0 for item in level):
            raise ValueError("NaN and infinity are not JSON numbers")
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    if level:
        raise ValueError(f"nested more than {MAX_CONFIG_DEPTH} levels deep")
    return value


_Name = Annotated[str, Field(pattern=rf"^{_SLUG}$")]
_Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
_Port = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
_Type = Annotated[str, AfterValidator(_port_type)]
_Path = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,200}$"), AfterValidator(_safe_path)]
_Config = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
_Line = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Lines = Annotated[list[_Line], Field(max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Definition(_Part):
    id: _Id
    config: _Config = Field(default_factory=dict)


class _File(_Part):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0, le=1 << 50)]


class _License(_Part):
    spdx: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9.+() -]+$")]
    file: _Path | None = None


class _Document(_Part):
    prior: Literal[1]
    name: _Name
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$")]
    summary: _Line
    kind: Literal["network", "function"]
    architecture: _Definition | None = None
    function: _Definition | None = None
    inputs: Annotated[dict[_Port, _Type], Field(min_length=1, max_length=8)]
    taps: Annotated[dict[_Port, _Type], Field(min_length=1, max_length=1_000)]
    averages: dict[_Port, Annotated[list[_Port], Field(min_length=1, max_length=1_000)]] = Field(default_factory=dict)
    default_tap: _Port
    host: _Config | None = None
    files: Annotated[dict[_Path, _File], Field(max_length=1_000)] = Field(default_factory=dict)
    parameters: Annotated[int, Field(ge=0, le=1 << 50)] = 0
    license: _License
    fee_bp: Annotated[int, Field(ge=0, le=10_000)] = 0
    parents: _Lines = Field(default_factory=list)
    training_data: _Lines = Field(default_factory=list)
    citations: _Lines = Field(default_factory=list)
    tags: Annotated[list[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]], Field(max_length=50)] = Field(
        default_factory=list
    )
    origin: _Config | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> _Document:
        wanted, other = ("architecture", "function") if self.kind == "network" else ("function", "architecture")
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f"a {self.kind} has the key {wanted!r} and not {other!r}")
        if self.default_tap not in self.taps:
            raise ValueError(f"default_tap {self.default_tap!r} is not one of the taps")
        for name, parts in self.averages.items():
            missing = [tap for tap in (name, *parts) if tap not in self.taps]
            if missing:
                raise ValueError(f"averages.{name} names {missing[0]!r}, which is not one of the taps")
            if any(self.taps[tap] != self.taps[name] for tap in parts):
                raise ValueError(f"averages.{name} is the mean of taps of other types")
        if self.architecture is not None and self.architecture.id == "onnx":
            if self.architecture.config.get("file") not in self.files:
                raise ValueError("architecture.config.file is not listed under 'files'")
        elif self.kind == "network" and not any(path.endswith(".safetensors") for path in self.files):
            raise ValueError("a network needs a .safetensors file under 'files'")
        held = {info.sha256[:16] for path, info in self.files.items() if path.endswith(".safetensors")}
        for name, text in self.taps.items():
            space = parse(text).space
            if space and (self.kind == "function" or space.rpartition("/")[2] not in held):
                raise ValueError(
                    f"taps.{name} lies in space {space}, which ends in the hash of none of its weight files"
                )
        for key in ("file", "merges"):
            host_file = (self.host or {}).get(key)
            if host_file is not None and host_file not in self.files:
                raise ValueError(f"host.{key} {host_file!r} is not listed under 'files'")
        return self

    def manifest(self) -> PriorManifest:
        manifest = PriorManifest(
            name=self.name,
            version=self.version,
            summary=self.summary,
            kind=self.kind,
            inputs={name: parse(text) for name, text in self.inputs.items()},
            taps={name: parse(text) for name, text in self.taps.items()},
            default_tap=self.default_tap,
            license=License(self.license.spdx, self.license.file),
            architecture=None if self.architecture is None else Definition(**self.architecture.model_dump()),
            function=None if self.function is None else Definition(**self.function.model_dump()),
            averages={name: tuple(parts) for name, parts in self.averages.items()},
            host=self.host,
            files={name: FileInfo(info.sha256, info.size) for name, info in self.files.items()},
            parameters=self.parameters,
            fee_bp=self.fee_bp,
            parents=tuple(self.parents),
            training_data=tuple(self.training_data),
            citations=tuple(self.citations),
            tags=tuple(self.tags),
            origin=self.origin,
        )
        _check_definition(manifest)
        return manifest


def _check_definition(manifest: PriorManifest) -> None:
    """The id is known, and a function's declared types are those its definition has."""
    if manifest.architecture is not None:
        registry.require_architecture(manifest.architecture.id)
        return
    function = manifest.definition
    if len(manifest.inputs) != 1 or list(manifest.taps) != ["out"]:
        raise BadManifest(
            f"function prior {manifest.name!r} has other ports than one input and the tap 'out'. Use those."
        )
    [declared] = manifest.inputs.values()
    gives = registry.function_signature(function.id, function.config, declared)
    if manifest.taps["out"] != gives:
        raise BadManifest(f"taps.out is {manifest.taps['out']}, but {function.id} gives {gives}. Write that type.")
