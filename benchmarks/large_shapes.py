"""What the stages that need no model take at the shapes of a large one, on made-up weights.

    python benchmarks/large_shapes.py --folder FOLDER [--tokens 262144] [--d-model 2304] [--features 16384]

Writes an unembedding (as the export does) and a decoder, then runs each stage in a process of its own: nulls
(isotropic ones of the view `main`), and moments with extremes and without histograms. Prints JSON: seconds,
the peak of all resident memory, of which pages of the files that are read are a part and may be taken back
any time, and the peak of what may not (anonymous). Linux only. The weights stay in the folder.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

STAGES = ("nulls", "moments")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=262144)
    parser.add_argument("--d-model", type=int, default=2304)
    parser.add_argument("--features", type=int, default=16384)
    parser.add_argument("--draws", type=int, default=1024, help="of the nulls")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--stage", choices=(*STAGES, "write"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.stage == "write":
        write(asked)
    elif asked.stage:
        print(json.dumps({"stage": asked.stage} | peak(lambda: run(asked))))
    else:
        for stage in ("write", *asked.stages):
            subprocess.run([sys.executable, *sys.argv, "--stage", stage], check=True)


def write(asked: argparse.Namespace) -> None:
    """The weights, unless they are there."""
    import torch

    from fsrl.weights import matrices

    asked.folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    if not (path := asked.folder / "unembedding.safetensors").exists():
        W_U = torch.randn(asked.d_model, asked.tokens, generator=generator)
        tokens = tuple(f"t{number}" for number in range(asked.tokens))
        # Folding as an RMSNorm without a gain does: the same numbers, stored twice.
        matrices.write_unembedding(matrices.Unembedding(W_U, W_U, tokens, None, None, {}), path)
    if not (path := asked.folder / "decoder.safetensors").exists():
        W_dec = torch.randn(asked.features, asked.d_model, generator=generator)
        hook = "blocks.0.hook_resid_post"
        matrices.write_decoder(matrices.Decoder(W_dec, None, hook, 0, hook, {}), path)


def run(asked: argparse.Namespace) -> None:
    """One stage, as its rule's script does it."""
    from fsrl.moments import engine
    from fsrl.nulls import frames
    from fsrl.weights import matrices

    unembedding = matrices.read_unembedding(asked.folder / "unembedding.safetensors")
    if asked.stage == "nulls":
        frames.isotropic_of_views(unembedding, {"main": {}}, draws=asked.draws, seed=0)
    else:
        decoder = matrices.read_decoder(asked.folder / "decoder.safetensors")
        engine.decoder_moments(decoder, unembedding, {"main": {}}, n_bins=0)


def peak(work: Callable[[], None]) -> dict[str, float]:
    """Seconds, and the peaks of resident and of anonymous memory in GiB, the latter looked at every 20 ms."""
    highest, done = 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.02):
            highest = max(highest, kib("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    work()
    seconds = time.monotonic() - start
    done.set()
    watcher.join()
    gib = 2**20
    return {
        "seconds": round(seconds, 1),
        "peak_gib": round(kib("VmHWM") / gib, 2),
        "anonymous_gib": round(highest / gib, 2),
    }


def kib(name: str) -> int:
    """A line of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
