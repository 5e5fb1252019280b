"""The placeholder priors of the design's test vectors: signatures without weights, under made-up hashes."""

from dataclasses import dataclass, replace

from priors.errors import UnknownPrior
from priors.manifest import Definition, License, PriorManifest, PriorRef
from priors.types import parse

SIGNATURES = {
    "bert-small": ({"ids": "text.ids[B,T]:i64{vocab=bert}"}, {"last_hidden": "text.tokens[B,T,D:512]:f32"}),
    "minilm": ({"ids": "text.ids[B,T]:i64{vocab=minilm}"}, {"last_hidden": "text.tokens[B,T,D:384]:f32"}),
    "vit-s": (
        {"pixels": "image.pixels[B,C:3,H:224,W:224]:f32{norm=imagenet}"},
        {"patches": "image.patches[B,S:196,D:384]:f32"},
    ),
    "tabmlp-3x128": ({"x": "tab.num[B,C:3]:f32"}, {"penultimate": "vec.feat[B,D:128]:f32"}),
}
PRIORS = {
    "bert-small": ("bert-small", "aaaa", "Apache-2.0", 300),
    "minilm": ("minilm", "bbbb", "MIT", 200),
    "vit-s": ("vit-s", "c1c1", "Apache-2.0", 250),
    "vit-s-food": ("vit-s", "c2c2", "CC-BY-4.0", 250),
    "tabmlp": ("tabmlp-3x128", "dddd", "Apache-2.0", 150),
    "x": ("minilm", "eeee", "Apache-2.0", 0),
}


@dataclass(frozen=True)
class Placeholder(PriorManifest):
    """A manifest whose content hash is the one the vectors made up."""

    made_up: str = ""

    def identity(self) -> str:
        return f"sha256:{self.made_up}"


def network(name: str, inputs: dict[str, str], taps: dict[str, str], *, architecture: str, sha256: str) -> Placeholder:
    return Placeholder(
        name=name,
        version="1",
        summary="placeholder",
        kind="network",
        inputs={port: parse(t) for port, t in inputs.items()},
        taps={tap: parse(t) for tap, t in taps.items()},
        default_tap=next(iter(taps)),
        license=License("Apache-2.0"),
        architecture=Definition(architecture),
        made_up=sha256,
    )


def resolve(ref: PriorRef) -> PriorManifest:
    if ref.name not in PRIORS:
        raise UnknownPrior(f"no prior is called {ref.name!r}. Use a placeholder.")
    architecture, sha256, spdx, fee_bp = PRIORS[ref.name]
    inputs, taps = SIGNATURES[architecture]
    made = network(ref.name, inputs, taps, architecture=architecture, sha256=sha256)
    return replace(made, license=License(spdx), fee_bp=fee_bp)
