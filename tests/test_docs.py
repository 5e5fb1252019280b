"""README and docs say what is true: links, snippets, variables, commands and formats are compared with the code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from typer.main import get_command

from composer.cli import app
from composer.graph import Graph
from priors.manifest import parse_manifest
from priors.tasks import Task
from priors.tasks.spec import parse_task
from tests.factories import make_prior, make_token, make_user

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = [path for layer in ("kernels", "priors", "composer", "hub") for path in sorted((ROOT / layer).rglob("*.py"))]

# Hosts that may be named: this machine, names reserved for examples, and the one index that README explains.
HOSTS = re.compile(
    r"127\.0\.0\.1|localhost|0\.0\.0\.0|(.+\.)?example\.(org|com)|download\.pytorch\.org|huggingface\.co"
)

_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def fenced(page: Path, language: str) -> list[str]:
    """The code blocks of a language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names of a page's headings as links write them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def variables_read(path: Path) -> Iterator[str]:
    """Names of environment variables that a module reads: os.environ, os.getenv, or the readers of hub/env.py."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id=reader), args=[ast.Constant(value=str(name)), *_]) if reader.startswith(
                "env_"
            ):
                yield name
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="environ") | ast.Name(id="env" | "environ")),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name
            case ast.Call(func=ast.Attribute(attr="getenv"), args=[ast.Constant(value=str(name)), *_]):
                yield name
            case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name))):
                yield name


@_each_page
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}"


@_each_page
def test_no_page_names_a_host_that_is_not_explained(page: Path) -> None:
    hosts = re.findall(r"\b(?:https?|redis|postgres)://(?:[^@/\s]*@)?([A-Za-z0-9.-]+)", page.read_text("utf-8"))

    assert [host for host in hosts if not HOSTS.fullmatch(host)] == []


def test_every_variable_that_the_code_reads_is_in_the_readme_and_none_besides() -> None:
    read = {name for path in CODE for name in variables_read(path)}
    read |= set(re.findall(r'env_secret\("(\w+)"\)', (ROOT / "hub/settings.py").read_text("utf-8")))
    table = set(re.findall(r"^\| `(\w+)` \|", README.read_text("utf-8"), re.MULTILINE))

    assert len(read) > 20
    assert read - table == set(), "read by the code and not in README's tables"
    assert table - read == set(), "in README's tables and not read by the code"


def test_the_readme_says_which_variables_may_come_from_a_file() -> None:
    secret = set(re.findall(r'env_secret\("(\w+)"\)', (ROOT / "hub/settings.py").read_text("utf-8")))

    assert set(re.findall(r"^\| `(\w+)` \|.*\| file \|$", README.read_text("utf-8"), re.MULTILINE)) == secret


@_each_page
def test_every_command_that_is_shown_exists_with_its_options(page: Path) -> None:
    command_line = get_command(app)
    text = re.sub(r"\\\n\s*", " ", page.read_text("utf-8"))
    shown = "\n".join([*re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL),
                       *re.findall(r"`([^`\n]+)`", text), *re.findall(r"^    (.+)$", text, re.MULTILINE)])  # fmt: skip

    for name, rest in re.findall(r"\bpriorhub ([a-z]+)\b([^\n#]*)", shown):
        assert name in command_line.commands, f"{page.name}: priorhub {name}"
        known = {option for parameter in command_line.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<!\w)--[a-z-]+", rest)) <= known, f"{page.name}: priorhub {name}{rest}"
    for name, rest in re.findall(r"\bmanage\.py ([a-z]+)\b([^\n#|)]*)", shown):
        assert name in get_commands(), f"{page.name}: manage.py {name}"
        parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
        assert set(re.findall(r"(?<!\w)--[a-z-]+", rest)) <= set(parser._option_string_actions), f"{page.name}: {rest}"
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", shown)) <= targets


def test_the_manual_lists_every_command_of_ours() -> None:
    ours = {name for name, where in get_commands().items() if where == "hub.ops"}
    listed = re.findall(r"^\| `python manage\.py (\w+)", (ROOT / "docs/operations.md").read_text("utf-8"), re.MULTILINE)

    assert set(listed) == ours


@pytest.mark.django_db(transaction=True)
def test_the_ten_lines_of_the_readme_work(
    home: Path, live_server: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = make_user("ann")
    make_prior(ann, "letters")
    make_prior(ann, "words", function={"id": "word_ngrams", "config": {}})
    monkeypatch.setenv("PRIORHUB_URL", str(live_server))
    monkeypatch.setenv("PRIORHUB_TOKEN", make_token(ann))
    monkeypatch.setenv("PRIORHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    [table] = fenced(ROOT / "docs/tutorial.md", "csv")
    Path("train.csv").write_text(table.replace("message,team", "message,label", 1))
    [lines] = fenced(README, "python")

    assert len(lines.strip().splitlines()) <= 12
    exec(compile(lines, "README.md", "exec"), {"__name__": "snippet"})

    answer = capsys.readouterr().out
    assert "'delivery'" in answer or "'billing'" in answer or "'account'" in answer


def test_the_tutorial_s_table_is_one_that_can_be_learned_from(tmp_path: Path) -> None:
    [table] = fenced(ROOT / "docs/tutorial.md", "csv")
    (tmp_path / "mail.csv").write_text(table)

    task = Task.from_csv(tmp_path / "mail.csv", target="team")

    assert (len(task), task.unlabelled.num_rows) == (24, 3)
    assert task.labels == ("account", "billing", "delivery")
    assert [(column.name, column.modality) for column in task.inputs] == [("message", "text")]


def test_the_documents_of_the_format_page_are_valid() -> None:
    page = ROOT / "docs/data-format.md"
    prior, task = (json.loads(block) for block in fenced(page, "json"))

    assert parse_manifest(prior).name == "char-ngrams"
    assert parse_task(task).labels == ("account", "billing", "delivery")


@pytest.mark.parametrize("page", [ROOT / "docs/data-format.md", ROOT / "docs/tutorial.md"], ids=lambda page: page.name)
def test_the_compositions_that_are_shown_read(page: Path) -> None:
    [block] = fenced(page, "yaml")

    assert Graph.from_dict(yaml.safe_load(block)).outputs == {"y": "y"}


@_each_page
def test_the_python_that_is_shown_parses_and_imports_what_exists(page: Path) -> None:
    imports = [
        line
        for block in fenced(page, "python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom | ast.Import) and (line := ast.unparse(node))
    ]
    exec("\n".join(imports), {})


@_each_page
def test_files_of_the_repository_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    for name in re.findall(r"`((?:kernels|priors|composer|hub|tests|docs|benchmarks|scripts)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_every_test_that_the_security_page_names_is_there() -> None:
    text = (ROOT / "docs/security.md").read_text("utf-8")
    named = re.findall(r"`((?:\w+/)+test_\w+)::(\w+)`", text)
    rows = [line for line in text.splitlines() if re.match(r"\| [\d ]", line)]
    there = {
        file: {node.name for node in ast.parse((ROOT / f"tests/{file}.py").read_text("utf-8")).body
               if isinstance(node, ast.FunctionDef)}
        for file in {file for file, _ in named}
    }  # fmt: skip

    assert len(named) > 100
    assert [f"{file}::{test}" for file, test in named if test not in there[file]] == []
    assert [row for row in rows if "::" not in row and "a proxy's task" not in row] == []
