"""Fixtures that several folders of tests share."""

from pathlib import Path

import pytest

from tests.fixtures import tiny_study as tiny


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random study in the layouts that users have; read it, don't change it."""
    folder = tmp_path_factory.mktemp("study") / "tiny"
    tiny.build(folder)
    return folder
