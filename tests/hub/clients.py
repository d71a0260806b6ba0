"""The environment in which a subprocess has the loopback hub for its Hugging Face hub.

HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_OFFLINE are read when huggingface_hub is imported: clients run in
subprocesses, and those of one environment may share its import.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures import forked_jobs

ROOT = Path(__file__).parents[2]


def environment(endpoint: str, cache: Path, **more: str) -> dict[str, str]:
    """os.environ less all of Hugging Face's, plus the hub at `endpoint` and the cache folder; no token."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS_")) and not name.lower().endswith("_proxy")
    }
    hub = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_CACHE": str(cache / "hub"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    }
    return {**kept, **hub, **more}


def run(code: str, environment: dict[str, str], folder: Path, *, fork: bool = True) -> str:
    """Standard output of Python code run in `folder`; AssertionError with its standard error if it fails.

    It runs in a fork of a process that has imported the large libraries in this environment, or in its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    python = forked_jobs.python(environment) if fork else sys.executable
    done = subprocess.run(
        [python, "-c", code], env=environment, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def turn_to(endpoint: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for huggingface_hub in this process, for one test."""
    from huggingface_hub import close_session, constants

    settings = {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": True,
        "HF_HUB_OFFLINE": False,
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("HF_")]:
        monkeypatch.delenv(name)
    # A client reads the environment when it is made.
    close_session()
