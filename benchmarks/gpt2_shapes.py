"""Write random weights of GPT-2 small's full shapes into a Hugging Face cache, as a download would leave it.

    python benchmarks/gpt2_shapes.py --cache FOLDER [--saes 13]
    HF_HUB_OFFLINE=1 HF_HUB_CACHE=FOLDER snakemake --cores 2 --configfile benchmarks/gpt2_shapes.yaml

The model has 12 layers, d_model 768 and a synthetic byte-level vocabulary of 50257 tokens; the SAEs are
those of gpt2-small-res-jb (d_sae 24576, in that release's layout), about 2.5 GB with all 13. They are written
one at a time: the peak is the model (0.55 GB). For timing and memory only: the weights mean nothing. The
second command builds them as the study random-weights, so that nothing of it passes for GPT-2's; never give
this cache to the study gpt2-small.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import sys
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.hub import gpt2_layout

N_MERGES, D_SAE = 50_000, 24_576
SAES = "jbloom/GPT2-Small-SAEs-Reformatted"
BUILD = "snakemake --cores 2 --configfile benchmarks/gpt2_shapes.yaml"
HOOKS = (*(f"blocks.{layer}.hook_resid_pre" for layer in range(12)), "blocks.11.hook_resid_post")


def main() -> None:
    """Write the cache; a folder that has these repositories is refused: no true download is touched."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--cache", type=Path, required=True, help="folder for HF_HUB_CACHE; made if missing")
    parser.add_argument("--saes", type=int, default=13, choices=range(14), metavar="0..13")
    options = parser.parse_args()
    model = Repository(options.cache, "gpt2")
    gpt2_layout.write_model(model.incoming, gpt2_layout.Shape(gain=0.3), merges())
    model.add_incoming()
    saes = Repository(options.cache, SAES)
    for number, hook in enumerate(HOOKS[: options.saes]):
        write_sae(saes.incoming / hook, hook, seed=number)
        saes.add_incoming()
        print(f"{number + 1} of {options.saes}: {hook}", file=sys.stderr)
    place = shlex.quote(str(options.cache.absolute()))
    print(f"build them with: HF_HUB_OFFLINE=1 HF_HUB_CACHE={place} {BUILD}", file=sys.stderr)


class Repository:
    """One repository of the cache, at a commit of its own that main points to."""

    def __init__(self, cache: Path, name: str):
        folder = cache / f"models--{name.replace('/', '--')}"
        if folder.exists():
            sys.exit(f"{folder} exists already: give --cache another folder, or delete that one")
        commit = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
        self.blobs, self.snapshot = folder / "blobs", folder / "snapshots" / commit
        self.incoming = folder / "new"  # on the same disk, so that a file moves by renaming
        for place in (self.blobs, self.snapshot, folder / "refs"):
            place.mkdir(parents=True)
        (folder / "refs" / "main").write_text(commit)

    def add_incoming(self) -> None:
        """Move the files of `incoming` to blobs, named by the hub's ETags; link them into the snapshot."""
        for file in sorted(self.incoming.rglob("*")):
            if file.is_file():
                link = self.snapshot / file.relative_to(self.incoming)
                blob = self.blobs / etag(file)
                link.parent.mkdir(parents=True, exist_ok=True)
                file.replace(blob)
                link.symlink_to(os.path.relpath(blob, link.parent))
        shutil.rmtree(self.incoming)


def etag(file: Path) -> str:
    """sha256 of a large file, git's sha1 of a small one, as the hub has it."""
    with file.open("rb") as opened:
        if file.suffix == ".safetensors":
            return hashlib.file_digest(opened, "sha256").hexdigest()
    data = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def write_sae(folder: Path, hook: str, seed: int, d_sae: int = D_SAE, d_in: int = 768) -> None:
    """A SAE in the layout of gpt2-small-res-jb: decoder rows of unit length, log10 densities about -4."""
    seeded = torch.Generator().manual_seed(seed)
    folder.mkdir(parents=True)
    w_dec = torch.randn(d_sae, d_in, generator=seeded)
    w_dec /= w_dec.norm(dim=1, keepdim=True)
    tensors = {
        "W_enc": torch.randn(d_in, d_sae, generator=seeded).mul_(0.05),
        "W_dec": w_dec,
        "b_enc": torch.randn(d_sae, generator=seeded).mul_(0.5),
        "b_dec": torch.randn(d_in, generator=seeded),
    }
    save_file(tensors, folder / "sae_weights.safetensors")
    log_sparsity = (torch.randn(d_sae, generator=seeded) - 4).clamp(-10, 0)
    save_file({"sparsity": log_sparsity}, folder / "sparsity.safetensors")
    settings = {
        "model_name": "gpt2-small",
        "hook_point": hook,
        "hook_point_layer": int(hook.split(".")[1]),
        "hook_point_head_index": None,
        "dataset_path": "Skylion007/openwebtext",
        "is_dataset_tokenized": False,
        "context_size": 128,
        "d_in": d_in,
        "d_sae": d_sae,
        "expansion_factor": d_sae // d_in,
        "dtype": "torch.float32",
        "device": "cuda",
        "seed": 42,
    }
    (folder / "cfg.json").write_text(json.dumps(settings))


def merges() -> list[tuple[str, str]]:
    """50,000 merges of a made-up language: words with and without Ġ, capitals, numbers, repeated marks."""
    short = ["".join(letters) for length in (2, 3) for letters in product(ascii_lowercase, repeat=length)]
    capitals = ["".join(pair) for pair in product(ascii_uppercase, ascii_lowercase)]
    numbers = ["".join(number) for length in (2, 3) for number in product(digits, repeat=length)]
    marks = [mark * 2 for mark in "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~"] + ["ĠĠ", "ĊĊ"]
    spaced = [
        f"Ġ{word}" for word in [*ascii_lowercase, *ascii_uppercase, *digits, *short, *capitals, *numbers]
    ]
    words = [*short, *capitals, *numbers, *marks, *spaced]
    longer = ("".join(letters) for letters in product(ascii_lowercase, repeat=4))
    every = gpt2_layout.merges_of([*words, *islice(longer, N_MERGES - len(words))])
    return every[:N_MERGES]


if __name__ == "__main__":
    main()
