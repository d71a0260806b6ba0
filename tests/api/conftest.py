"""A Hugging Face hub and a Neuronpedia on the loopback interface, together."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hub.conftest import _here, _serving_hub, here, hub, hub_environment  # noqa: F401
from tests.neuronpedia.conftest import KEY, api, bucket, environment  # noqa: F401
from tests.neuronpedia.servers import Api, Bucket


@pytest.fixture
def notebook_environment(
    hub_environment: Callable[..., dict[str, str]],  # noqa: F811
    api: Api,  # noqa: F811
    bucket: Bucket,  # noqa: F811
    tmp_path: Path,
) -> dict[str, str]:
    """Of a subprocess that knows no other host than these three, and has an API key."""
    return hub_environment(
        NEURONPEDIA_URL=api.url,
        NEURONPEDIA_BUCKET_URL=bucket.url,
        NEURONPEDIA_API_KEY=KEY,
        XDG_CACHE_HOME=str(tmp_path / "xdg"),
        MPLBACKEND="",
        OMP_NUM_THREADS="1",
    )
