"""A hub on the loopback interface for the tests of this folder."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.hub import clients
from tests.hub.layouts import HubTree
from tests.hub.server import LoopbackHub


@pytest.fixture(scope="session")
def _serving_hub(hub_tree: HubTree) -> Iterator[LoopbackHub]:
    with closing(LoopbackHub(hub_tree.folder)) as hub:
        yield hub


@pytest.fixture
def hub(_serving_hub: LoopbackHub) -> Iterator[LoopbackHub]:
    """The running hub, without faults and with an empty log; it may be closed and will be opened again."""
    _serving_hub.reset()
    yield _serving_hub
    _serving_hub.heal()


@pytest.fixture
def at_hub(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """The running hub, for huggingface_hub in this process too; an empty cache in tmp_path/hf, no token."""
    clients.turn_to(hub.url, tmp_path / "hf", monkeypatch)
    return hub


@pytest.fixture(scope="session")
def _here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches") / "here"


@pytest.fixture
def here(_here: Path, tmp_path: Path) -> Path:
    """tmp_path under a name that all tests share: subprocesses whose caches are named alike can be forks."""
    _here.unlink(missing_ok=True)
    _here.symlink_to(tmp_path)
    return _here


@pytest.fixture
def hub_environment(hub: LoopbackHub, here: Path) -> Callable[..., dict[str, str]]:
    """Call it for the environment of a subprocess whose hub is `hub`; its cache, tmp_path/hf, is empty."""
    return lambda **more: clients.environment(hub.url, here / "hf", **more)
