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
def hub_environment(hub: LoopbackHub, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Call it for the environment of a subprocess whose hub is `hub` and whose cache is empty."""
    return lambda cache="hf", **more: clients.environment(hub.url, tmp_path / cache, **more)
