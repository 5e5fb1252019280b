"""README.md of the starter priors: the front matter that catalogues read, from the manifest, above prose by hand."""

from importlib.resources import files

import yaml

from priors.manifest import PriorManifest

HOW_TO = """\
## Use it

    priorhub pull {namespace}/{name}

or name it in a composition as `prior://{namespace}/{name}`. Its ports, taps and config are in `prior.json`.
"""


def card(manifest: PriorManifest, *, namespace: str, pipeline: str | None) -> str:
    """The whole README.md of a starter prior."""
    front = {
        "license": manifest.license.spdx.lower() if " " not in manifest.license.spdx else "other",
        "library_name": "priorhub",
        **({"pipeline_tag": pipeline} if pipeline else {}),
        "tags": ["prior", manifest.kind, *manifest.tags],
    }
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n",
        _text("cards", f"{manifest.name}.md"),
        HOW_TO.format(namespace=namespace, name=manifest.name),
        _provenance(manifest),
    ]
    return "\n".join(parts)


def license_text(spdx: str) -> str:
    """The full text of a license, as its publisher words it; of all licenses of an `A AND B` expression."""
    return "\n\n".join(_text("licenses", f"{one}.txt") for one in spdx.split(" AND "))


def _provenance(manifest: PriorManifest) -> str:
    text = f"## License and origin\n\nLicense: {manifest.license.spdx}, see `LICENSE`.\n"
    if origin := manifest.origin:
        text += (
            f"Taken from the Python package `{origin['package']}` {origin['version']}, file `{origin['path']}`, "
            f"sha256 `{origin['sha256']}`.\n"
        )
    if manifest.citations:
        text += "\n## Read more\n\n" + "".join(f"- {citation}\n" for citation in manifest.citations)
    return text


def _text(folder: str, name: str) -> str:
    return (files("priors.sources") / folder / name).read_text(encoding="utf-8")
