"""The command line: text for people, JSON for programs, exit codes, and one line for every refusal."""

import json
import subprocess
import sys

import pytest

from hub.accounts.services import create_token, create_user
from priors.client.config import config_file

COMMANDS = [
    *("login", "whoami", "search", "show", "pull", "push", "import", "refs", "branch", "tag", "move", "settings"),
    *("delete", "recommend", "fit", "predict", "bench", "check", "lock", "verify", "export"),
    *("license", "royalty", "sbom", "diff", "merge", "retok"),
]
SPEC = """
composition: 1
name: letters
nodes:
  text: {op: input, type: "text.raw[B]:str"}
  grams: {op: fn, in: [text], fn: char_ngrams}
  y: {op: head, in: [grams], labels: [ham, spam], loss: cross_entropy, train: full}
outputs: {y: y}
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    for name in ("PRIORHUB_URL", "PRIORHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PRIORHUB_CACHE", str(tmp_path / "cache"))


# ---- without a hub


def test_help_imports_nothing_heavy_and_names_every_command():
    code = (
        "import sys; sys.argv = ['priorhub', '--help']\n"
        "from composer.cli import main\n"
        "try: main()\n"
        "except SystemExit as left: print('exit', left.code)\n"
        "print('heavy', sorted({'torch', 'transformers', 'numpy', 'pyarrow', 'django', 'sklearn'} & set(sys.modules)))"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "exit 0" in out
    assert "heavy []" in out
    assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_speaks_json(run, command):
    code, out, err = run(command, "--help")

    assert (code, err) == (0, "")
    assert "--json" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["recommend"],
        ["fit", "--data", "x.csv"],
        ["search", "--kind", "car"],
        ["bench", "--draws", "0", "--data", "x"],
        ["export", "model", "--out", "model.txt"],
    ],
)
def test_wrong_usage_is_exit_code_two_and_says_what_is_wrong(run, arguments):
    code, out, err = run(*arguments)

    assert (code, out) == (2, "")
    assert "Error" in err or "Invalid" in err


def test_a_hub_that_is_away_is_one_line(refused):
    assert "no hub answers at http://127.0.0.1:9" in refused("whoami", "--url", "http://127.0.0.1:9")


def test_a_refusal_is_one_line_without_traceback_in_the_installed_command_too(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "composer.cli", "recommend", "--data", tmp_path / "none.csv", "--target", "y"],
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {tmp_path / 'none.csv'} does not exist. Give a CSV, JSONL or Parquet file.\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("text,lable\na,x\n", "Did you mean 'lable'?"),
        ("text,label\na,x\nb,x\n", "second class"),
        ("text,label\na,x\nb,x\nc,z\n", "class 'z'"),
        ("text,label\n" + "x" * 1_000_000 + ",y\n", "1,000,000 characters"),
        ("n,text,label\ninf,a,x\n2,b,y\n3,c,x\n4,d,y\n", "'n' is infinite in row 1"),
    ],
)
@pytest.mark.parametrize("command", ["recommend", "fit", "bench"])
def test_bad_rows_are_one_line_and_leave_nothing_behind(refused, tmp_path, command, content, words):
    (tmp_path / "t.csv").write_text(content)
    more = ["--out", tmp_path / "model"] if command == "fit" else []

    assert words in refused(command, "--data", tmp_path / "t.csv", "--target", "label", "--offline", *more)
    assert not (tmp_path / "model").exists()


def test_a_metric_that_the_target_has_not_is_refused_in_one_line(refused, tmp_path):
    (tmp_path / "t.csv").write_text("text,label\na,x\nb,x\nc,y\nd,y\n")

    said = refused("fit", "--data", tmp_path / "t.csv", "--target", "label", "--offline", "--metric", "map",
                   "--out", tmp_path / "model")  # fmt: skip

    assert "metric='map' does not fit a binary target. Use accuracy" in said


def test_what_a_hub_says_cannot_drive_the_terminal(capsys):
    from composer._console import emit, printable, table

    assert "\x1b" not in printable("\x1b]0;title\x07 \u202egnp")
    emit([], table(("a",), [("\x1b[2J",)]), as_json=False)
    assert "\x1b" not in capsys.readouterr().out


def test_a_table_aligns_numbers_right_and_words_left():
    from composer._console import table

    assert table(("name", "n"), [("a", 5), ("long name", 12345)]).splitlines() == [
        "name            n",
        "a               5",
        "long name  12,345",
    ]


# ---- compositions


def local_library(root):
    from tests.factories import function_manifest

    folder = root / "priors" / "priorhub" / "char-ngrams"
    folder.mkdir(parents=True)
    (folder / "prior.json").write_text(json.dumps(function_manifest()))
    return root / "priors"


def test_a_spec_is_checked_and_locked_the_same_way_every_time(run, tmp_path):
    (tmp_path / "composition.yaml").write_text(SPEC)
    library = local_library(tmp_path)

    code, out, err = run("check", tmp_path / "composition.yaml", "--library", library, "--json")
    assert (code, err) == (0, ""), err
    checked = json.loads(out)
    locks = []
    for name in ("one.json", "two.json"):
        code, out, _ = run(
            "lock", tmp_path / "composition.yaml", "--out", tmp_path / name, "--library", library, "--json"
        )
        assert code == 0
        locks.append((tmp_path / name).read_bytes())

    assert [node["name"] for node in checked["nodes"]][-1] == "y"
    assert json.loads(out)["structure"] == checked["structure"]
    assert locks[0] == locks[1]


def test_a_spec_that_does_not_hold_together_is_refused_in_one_line(refused, tmp_path):
    library = local_library(tmp_path)
    (tmp_path / "c.yaml").write_text(SPEC.replace("in: [grams]", "in: [grms]"))
    assert "grms" in refused("check", tmp_path / "c.yaml", "--library", library)

    refused("check", tmp_path / "none.yaml", "--library", library)
    refused("lock", tmp_path / "c.yaml", "--library", tmp_path / "none")


# ---- with a hub


@pytest.fixture
def token(home, live_server, transactional_db):
    return create_token(user=create_user(name="ada"), name="cli", role="write")[0]


def test_login_remembers_the_hub_for_the_commands_after_it(run, refused, token, live_server):
    code, out, err = run("login", "--url", live_server.url, "--token", token, "--json")

    assert (code, err) == (0, "")
    assert json.loads(out)["name"] == "ada"
    assert token not in out
    code, out, _ = run("whoami")
    assert (code, out) == (0, f"ada (read, write) at {live_server.url}\n")


def test_a_wrong_token_is_refused_and_not_remembered(refused, token, live_server):
    refused("login", "--url", live_server.url, "--token", "ph_" + "0" * 38)

    assert not config_file().exists()


def test_push_show_search_and_pull_go_together(run, refused, token, live_server, tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORHUB_URL", live_server.url)
    monkeypatch.setenv("PRIORHUB_TOKEN", token)
    folder = local_library(tmp_path) / "priorhub" / "char-ngrams"

    code, out, err = run("push", folder, "ada/char-ngrams", "--message", "first", "--json")
    assert (code, err) == (0, ""), err
    commit = json.loads(out)["commit"]
    assert json.loads(run("show", "ada/char-ngrams", "--json")[1])["manifest"]["name"] == "char-ngrams"
    assert "takes" in run("show", "ada/char-ngrams")[1]
    assert [found["repo"] for found in json.loads(run("search", "--json")[1])] == ["ada/char-ngrams"]
    assert "ada/char-ngrams" in run("search", "char", "--modality", "text")[1]
    pulled = json.loads(run("pull", f"ada/char-ngrams@{commit}", "--to", tmp_path / "out", "--json")[1])
    assert pulled["files"] == ["prior.json"]
    assert (tmp_path / "out" / "prior.json").read_bytes() == (folder / "prior.json").read_bytes()
    assert "ada/nothing" in refused("pull", "ada/nothing")
