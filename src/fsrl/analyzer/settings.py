"""What a feature analyzer is asked for: how to look at the weights, and how to compute tables."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from fsrl import arguments, defaults
from fsrl.moments.products import PRECISIONS
from fsrl.weights.transport import LENS, SAME_POSITION

CHOICES: dict[str, tuple[str | bool | None, ...]] = {
    "w_u": ("folded", "raw"),
    "tokens": ("all", "trained"),
    "cosine": (False, True),
    "transport": (None, SAME_POSITION, LENS),
}


@dataclass(frozen=True)
class ViewSettings:
    """What of the weights is looked at: the settings of `fsrl.weights.view`, and transport
    (`fsrl.weights.transport`).
    """

    w_u: str = defaults.VIEW["w_u"]
    tokens: str = defaults.VIEW["tokens"]
    cosine: bool = defaults.VIEW["cosine"]
    transport: str | None = None

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            arguments.require(
                value in choices, "view", name, value, f"choose {' or '.join(map(str, choices))}"
            )

    @classmethod
    def named(cls, name: Any) -> "ViewSettings":
        """Those of a view of the workflow; FsrlError for a name that there is not."""
        known = isinstance(name, str) and name in defaults.VIEWS
        arguments.require(known, "view", "view", name, f"choose one of {', '.join(defaults.VIEWS)}")
        return cls(**defaults.VIEWS[name])

    def but(self, changes: Mapping[str, Any]) -> "ViewSettings":
        """With other settings, one by one or by the name of a view of the workflow (`view`), which others may
        change; FsrlError, naming it, for one that there is not.
        """
        own = [field.name for field in fields(self)]
        arguments.known_names("view", changes, ["view", *own])
        base = ViewSettings.named(changes["view"]) if "view" in changes else self
        return replace(base, **{name: value for name, value in changes.items() if name in own})

    def __str__(self) -> str:
        more = [", cosines"] * self.cosine
        more += {None: [], LENS: [", by a lens"]}.get(self.transport, [", transported"])
        return f"{self.w_u} W_U, {self.tokens} tokens{''.join(more)}"


@dataclass(frozen=True)
class TableSettings:
    """precision, device, progress: of `fsrl.moments.logit_moments`; null_draws: isotropic directions;
    layer_draws: of the layer's own kind; seed: theirs; token_sets: of the caller's, as
    `fsrl.tokens.sets.token_sets` takes them.
    """

    precision: str = "fp32"
    null_draws: int = defaults.NULL_DRAWS
    layer_draws: int = defaults.LAYER_DRAWS
    seed: int = defaults.NULL_SEED
    token_sets: Mapping[str, Mapping[str, Any]] | None = None
    device: str = "cpu"
    progress: bool = False

    def __post_init__(self) -> None:
        def require(met: bool, name: str, wanted: str) -> None:
            arguments.require(met, "SAEfeatureAnalyzer", name, getattr(self, name), wanted)

        known = ", ".join(PRECISIONS)
        require(self.precision in PRECISIONS, "precision", f"choose one of {known}")
        require(arguments.is_whole(self.null_draws, 1), "null_draws", "give a whole number above 0")
        require(arguments.is_whole(self.layer_draws, 1), "layer_draws", "give a whole number above 0")
        require(arguments.is_whole(self.seed), "seed", "give a whole number from 0 on")
        named = self.token_sets is None or _are_named(self.token_sets)
        require(named, "token_sets", "give sets by name, {name: {'regex': ...} or {'words': [...]}}")

    @property
    def as_workflow(self) -> bool:
        """Whether null directions are those of the workflow, so that its tables answer."""
        mine = (self.null_draws, self.layer_draws, self.seed)
        return mine == (defaults.NULL_DRAWS, defaults.LAYER_DRAWS, defaults.NULL_SEED)

    @classmethod
    def of(cls, given: Mapping[str, Any], device: torch.device, *, progress: bool = False) -> "TableSettings":
        """For a model on this device; FsrlError, naming it, for a setting that there is not."""
        known = [field.name for field in fields(cls) if field.name not in ("device", "progress")]
        arguments.known_names("SAEfeatureAnalyzer", given, known)
        # Only these two have the float64 that sums are taken in.
        where = str(device) if device.type in ("cpu", "cuda") else "cpu"
        return cls(**given, device=where, progress=progress)


def _are_named(sets: Any) -> bool:
    named = isinstance(sets, Mapping) and all(isinstance(name, str) for name in sets)
    return named and all(isinstance(settings, Mapping) for settings in sets.values())
