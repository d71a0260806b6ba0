"""How much memory a job asks for that runs the study's model: float32, by what its weights' files hold."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from fsrl.models import hub_files
from fsrl.models.hub_files import HubFile
from tests.fixtures import tiny_study as tiny
from tests.fixtures.project import ROOT
from workflow import studies

CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
SHARDS = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]


def study(**model: str) -> studies.Study:
    entry = tiny.config("tiny")["studies"]["tiny"] | {"model": model, "saes": {"neurons": 1}}
    return studies.resolve("tiny", CONFIG | {"studies": {"tiny": entry}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of 2.5 million numbers, 16 bits each, in two files; no weight is ever read."""
    big, small = torch.zeros(1000, 2000, dtype=torch.bfloat16), torch.zeros(500_000, dtype=torch.float16)
    for name, tensor in zip(SHARDS, (big, small), strict=True):
        save_file({name: tensor, f"{name}.norm": torch.zeros(1)}, tmp_path / name)
    listed = {"weight_map": {key: name for name in SHARDS for key in (name, f"{name}.norm")}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(listed))
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_a_model_of_16_bits_takes_twice_its_files(folder: Path) -> None:
    # 4 * 2,500,002 bytes, rounded up.
    assert study(folder=str(folder)).model_mb() == 11


def test_the_tiny_study_takes_what_its_parameters_take(tiny_study: Path) -> None:
    tensors = load_file(tiny_study / "model/model.safetensors")
    numbers = sum(tensor.numel() for tensor in tensors.values())
    assert study(folder=str(tiny_study / "model")).model_mb() == -(-4 * numbers // 10**6) > 0


def test_weights_that_are_not_here_count_for_nothing(folder: Path) -> None:
    (folder / SHARDS[1]).unlink()
    assert study(folder=str(folder)).model_mb() == 0
    (folder / SHARDS[1]).write_bytes(b"broken")
    assert study(folder=str(folder)).model_mb() == 0
    assert study(folder=str(folder / "none")).model_mb() == 0


def test_weights_of_the_hub_count_once_they_are_fetched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = False

    def cached(file: HubFile) -> Path | None:
        path = folder / file.path
        return path if here and path.is_file() else None

    monkeypatch.setattr(hub_files, "cached", cached)
    model = study(hub="someone/model")
    assert model.model_mb() == 0
    here = True
    assert model.model_mb() == 11
