"""Kernels under test are compiled once, into a directory of this run's own."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _kernels_compiled_for_this_run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIORHUB_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("KERNELS", raising=False)
        yield
