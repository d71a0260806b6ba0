"""Where heavy work is done: which device `auto` means, what a table says of it, whether there is a GPU.

`at_hand` answers for planning, before a job and without loading Torch, which takes seconds; `pick` answers
inside a job, by what Torch itself can use.
"""

import logging
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fsrl.errors import FsrlError

logger = logging.getLogger(__name__)

CHOICES = ("auto", "cpu", "cuda")
# A driver that does not answer in this time (seconds) is no GPU to plan with.
PATIENCE = 30
NODES = Path("/dev")


def pick(device: str) -> str:
    """cpu or cuda; auto: cuda where Torch can use a GPU. The log says where there is one that it cannot use.

    Raises FsrlError for another word, and for cuda where Torch can use none.
    """
    import torch

    if device not in CHOICES:
        raise FsrlError(f"device is {device!r}; choose one of {', '.join(CHOICES)}")
    usable = torch.cuda.is_available()
    if device == "cuda" and not usable:
        raise lacking()
    if device != "auto":
        return device
    if not usable and at_hand():
        logger.warning(
            "there is a GPU here, and Torch %s cannot use it (does its CUDA fit the driver?): "
            "this runs on the CPU",
            version("torch"),
        )
    return "cuda" if usable else "cpu"


def described(device: str) -> dict[str, str]:
    """For a table's metadata: the device (of `pick`) that its numbers were computed on, and its name."""
    import torch

    if device == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name = str(torch.cpu.get_capabilities().get("cpu_name") or platform.machine())
    return {"device": device, "device_name": name}


def for_float64(tensor: Any) -> Any:
    """The torch.device for a tensor's arithmetic in float64: its own, or the CPU where that has none."""
    import torch

    return tensor.device if tensor.is_cuda else torch.device("cpu")


def at_hand() -> bool:
    """Whether Torch could use a GPU here, as far as can be told without loading it.

    No where Torch's build is one for CPUs, and where CUDA_VISIBLE_DEVICES hides every GPU; else whether the
    driver made a node of one (/dev/nvidia0 and so on), or, where it makes none (WSL), `nvidia-smi` lists one.
    """
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if version("torch").endswith("+cpu") or (shown is not None and shown.strip() in ("", "-1")):
        return False
    return any(NODES.glob("nvidia[0-9]*")) or _listed()


def lacking() -> FsrlError:
    """The error for cuda where there is none."""
    return FsrlError(
        "device is cuda, but Torch can use no GPU here (does nvidia-smi list one, does CUDA_VISIBLE_DEVICES "
        f"hide it, is Torch {version('torch')} a build for CUDA?); use auto or cpu"
    )


def _listed() -> bool:
    try:
        done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.startswith("GPU ")
