"""Which device `auto` means, what a table says of it, and how planning sees a GPU."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fsrl import devices
from fsrl.errors import FsrlError
from tests.fixtures.pretend_cuda import pretend_cuda
from workflow import settings


def test_auto_takes_a_gpu_where_there_is_one():
    usable = torch.cuda.is_available()
    assert devices.pick("auto") == ("cuda" if usable else "cpu")
    with pretend_cuda() as device:
        assert devices.pick("auto") == devices.pick("cuda") == "cuda"
        assert devices.pick("cpu") == "cpu"
        assert devices.described("cuda") == {"device": "cuda", "device_name": device.name}
    found = devices.described("cpu")
    assert found["device"] == "cpu" and found["device_name"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_one_line():
    with pytest.raises(FsrlError, match="device is cuda, but Torch can use no GPU here") as caught:
        devices.pick("cuda")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(FsrlError, match="device is 'gpu'; choose one of auto, cpu, cuda"):
        devices.pick("gpu")


@pytest.mark.parametrize(
    ("device", "at_hand", "lines"), [("auto", True, 1), ("auto", False, 0), ("cpu", True, 0)]
)
def test_a_gpu_that_torch_cannot_use_is_told(monkeypatch, caplog, device, at_hand, lines):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "at_hand", lambda: at_hand)
    assert devices.pick(device) == "cpu"
    assert len(caplog.records) == lines
    if lines:
        said = "there is a GPU here, and Torch .* cannot use it .*: this runs on the CPU"
        assert re.fullmatch(said, caplog.messages[0]) and caplog.records[0].levelname == "WARNING"


def test_a_gpu_that_is_used_needs_no_line(caplog):
    with pretend_cuda():
        assert devices.pick("auto") == "cuda"
    assert not caplog.records


def test_float64_is_computed_on_the_cpu_where_a_device_has_none():
    assert devices.for_float64(torch.ones(2)).type == "cpu"
    assert devices.for_float64(torch.ones(2, device="meta")).type == "cpu"
    with pretend_cuda():
        assert devices.for_float64(torch.ones(2, device="cuda")).type == "cuda"


def lists_a_gpu(folder: Path) -> str:
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-0)'\n")
    program.chmod(0o755)
    return str(folder)


def fails(folder: Path) -> str:
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU access blocked'; exit 9\n")
    program.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("build", "visible", "driver", "expected"),
    [
        ("2.13.0", None, lists_a_gpu, True),
        ("2.13.0+cu128", "1", lists_a_gpu, True),
        ("2.13.0+cpu", None, lists_a_gpu, False),
        ("2.13.0", "", lists_a_gpu, False),
        ("2.13.0", "-1", lists_a_gpu, False),
        ("2.13.0", None, fails, False),
        ("2.13.0", None, str, False),
    ],
)
def test_a_gpu_is_at_hand_by_build_environment_and_driver(
    monkeypatch, tmp_path, build, visible, driver, expected
):
    monkeypatch.setattr(devices, "version", lambda name: build)
    monkeypatch.setattr(devices, "NODES", tmp_path)
    monkeypatch.setenv("PATH", driver(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.at_hand() is expected


def test_the_drivers_node_is_enough(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "version", lambda name: "2.13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(devices, "NODES", tmp_path)
    (tmp_path / "nvidiactl").touch()
    assert not devices.at_hand()
    (tmp_path / "nvidia0").touch()
    assert devices.at_hand()


def test_planning_does_not_load_torch():
    code = "import sys; from fsrl import devices; devices.at_hand(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("device", "elsewhere", "at_hand", "claimed"),
    [
        ("cpu", False, True, 0),
        ("cpu", True, True, 0),
        ("auto", False, True, 1),
        ("auto", False, False, 0),
        ("cuda", False, True, 1),
        # Other machines are not this one's to speak of.
        ("auto", True, True, 0),
        ("cuda", True, False, 1),
    ],
)
def test_what_a_job_claims(monkeypatch, device, elsewhere, at_hand, claimed):
    monkeypatch.setattr(devices, "at_hand", lambda: at_hand)
    assert settings.gpus(device, elsewhere=elsewhere) == claimed


def test_cuda_without_a_gpu_stops_the_plan(monkeypatch):
    monkeypatch.setattr(devices, "at_hand", lambda: False)
    with pytest.raises(FsrlError, match="device is cuda"):
        settings.gpus("cuda", elsewhere=False)
