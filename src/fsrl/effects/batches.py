"""How much goes through measured effects in one go: what fits a share of the device's memory.

A batch is chosen from the shapes, and no figure depends on it but by rounding. On a CPU it takes a fixed
budget, small enough that whatever is held for a whole study makes the peak; on a GPU a share of what is free
there, so that a large one is kept busy and a small one is not overrun.
"""

import torch

CPU_BYTES = 64 * 2**20
# Of a GPU's free memory; what libraries and the allocator take beside a batch stays well inside the rest.
GPU_SHARE = 1 / 16


def budget(device: torch.device) -> int:
    """Bytes that one batch may take on this device."""
    if device.type != "cuda":
        return CPU_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    # What Torch has reserved and does not use is free to it, but not to the driver.
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int((free + idle) * GPU_SHARE)


def rows(device: torch.device, bytes_each: int) -> int:
    """How many rows, of so many bytes with all their temporaries, go through in one go; at least 1."""
    return max(1, budget(device) // bytes_each)
