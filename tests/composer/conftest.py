"""The command line as tests call it."""

import sys

import pytest

from composer.cli import main


@pytest.fixture
def run(monkeypatch, capsys):
    """run(*arguments) -> (exit code, stdout, stderr), through the real entry point."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["priorhub", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return call


@pytest.fixture
def refused(run):
    """The one line on stderr of a command that must be refused with exit code 1 and an empty stdout."""

    def call(*arguments):
        code, out, err = run(*arguments)
        assert (code, out) == (1, ""), (code, out, err)
        assert err.startswith("error: ") and err.count("\n") == 1, err
        return err

    return call
