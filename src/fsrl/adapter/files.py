"""A trained adapter on disk: adapter.safetensors (its tensors) and adapter.json (what they belong to).

The JSON names the adapter's settings, the SAE it was trained on (with a hash of that SAE's weights) and the
hash of the tensor file, so that an adapter is never put on another SAE and two files that do not belong
together are refused. Nothing is pickled; tensors come back bit for bit.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fsrl import arguments, files, plain
from fsrl.adapter.layers import AdapterSettings
from fsrl.errors import FsrlError
from fsrl.models import hub_files
from fsrl.weights.files import content_hash

TENSORS, FACTS = "adapter.safetensors", "adapter.json"
KIND = "fsrl SAE adapter"


@dataclass(frozen=True)
class SAEIdentity:
    """Which SAE: where it came from (None: not known), its shape, and a hash of its weights as loaded."""

    release: str | None
    sae_id: str | None
    architecture: str
    hook_name: str | None
    d_in: int
    d_sae: int
    sha256: str

    @classmethod
    def of(cls, sae: Any, release: str | None, sae_id: str | None) -> "SAEIdentity":
        """The identity of a SAELens SAE. Reads every weight once (0.1 s for 24576 x 768)."""
        found = sae.cfg.architecture(), sae.cfg.metadata.hook_name, sae.cfg.d_in, sae.cfg.d_sae
        return cls(release, sae_id, *found, content_hash(sae.state_dict()))

    def __str__(self) -> str:
        name = f"{self.sae_id} of {self.release}" if self.sae_id else f"at {self.hook_name}"
        return (
            f"{plain.line(name)} ({self.architecture}, {self.d_in} x {self.d_sae}, sha256 {self.sha256[:12]})"
        )


def save(folder: str | Path, settings: AdapterSettings, sae: SAEIdentity, tensors: dict[str, Tensor]) -> None:
    """Write both files, each whole or not at all; what stood there before stays if writing fails.

    Raises FsrlError for what is no path, and for a disk that refuses.
    """
    folder = _folder(folder)
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        with (
            files.atomic_write(folder / FACTS) as facts_file,
            files.atomic_write(folder / TENSORS) as tensor_file,
        ):
            save_file(stored, tensor_file)
            facts = {
                "kind": KIND,
                "settings": asdict(settings),
                "sae": asdict(sae),
                "tensors_sha256": hub_files.sha256(tensor_file),
            }
            facts_file.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    except SafetensorError as error:  # its writer's own name for what the disk refuses
        raise FsrlError(f"{folder}: cannot be written ({error}); make room and run again") from error


def load(folder: str | Path, sae: SAEIdentity) -> tuple[AdapterSettings, dict[str, Tensor]]:
    """What `save` wrote, on the CPU, in the dtype it was saved in.

    Raises FsrlError for a missing, broken or foreign file, for tensors that are not those the JSON belongs
    to, and for an adapter of another SAE.
    """
    folder = _folder(folder)
    for name in (FACTS, TENSORS):
        if not (folder / name).is_file():
            raise FsrlError(f"{folder / name} is missing; give a folder that save_adapter wrote")
    facts = _facts(folder / FACTS)
    saved = SAEIdentity(**facts["sae"])
    if saved.sha256 != sae.sha256:
        raise FsrlError(
            f"{folder}: this adapter was trained on the SAE {saved}, not on {sae}; load it on its own SAE"
        )
    if hub_files.sha256(folder / TENSORS) != facts["tensors_sha256"]:
        raise FsrlError(
            f"{folder}: {TENSORS} and {FACTS} do not belong together (a save was cut short, or a file was "
            "changed); save the adapter again"
        )
    try:
        return AdapterSettings.from_kwargs(facts["settings"]), load_file(folder / TENSORS)
    except SafetensorError as error:
        raise FsrlError(f"{folder / TENSORS}: broken file ({error}); save the adapter again") from error


def _folder(given: Any) -> Path:
    arguments.require(arguments.is_path(given), "adapter", "folder", given, "give the path of a folder")
    return Path(given)


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FsrlError(f"{path}: broken file ({error}); save the adapter again") from error
    expected = {"kind", "settings", "sae", "tensors_sha256"}
    if not isinstance(facts, dict) or facts.get("kind") != KIND or not expected <= set(facts):
        raise FsrlError(f"{path}: not written by save_adapter; give a folder that it wrote")
    named = isinstance(facts["sae"], dict) and isinstance(facts["settings"], dict)
    if not named or set(facts["sae"]) != set(SAEIdentity.__dataclass_fields__):
        raise FsrlError(f"{path}: written by another version of fsrl; save the adapter again with this one")
    return facts
