"""T of every hook of a study: the mean Jacobian over sites of a text, with what its sampling error is.

Sites are positions 1 and later of windows of the text, uniform, two of each window, more where the text is
short. GPT-2's blocks go by the closed form, other models by automatic differentiation. Sums are taken
in float64. The windows' halves, every other one, each give a T of their own; their difference says how far
so many sites carry.

At the outputs of blocks J, the mean without the final norm, comes from the same sites, for those who apply
the norm themselves (`fsrl.transport.lens`). T is the mean of N J of each site, not the product of means.

Example: at the last hook T is the mean of P - x̂ x̂ᵀ/d over the sites, whatever the model.
"""

import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from tqdm import tqdm

from fsrl import devices
from fsrl.effects import forward, scope
from fsrl.errors import FsrlError
from fsrl.hooks import Place
from fsrl.models import windows
from fsrl.models.reading import Model
from fsrl.transport import closed_form, reverse
from fsrl.weights.transport import Transport

logger = logging.getLogger(__name__)

# A clean run costs as much as a site's derivative: two a window, which are nearly independent.
SITES_OF_A_WINDOW = 2
# Windows whose clean run is held at a time, and derivatives that automatic differentiation takes at a time.
WINDOWS_AT_ONCE, ROWS_AT_ONCE = 16, 64


@dataclass(frozen=True)
class Settings:
    """text: what the model reads; context: tokens in a window; sites: how many positions, at least 2; seed:
    of the positions; leave_out: as `fsrl.models.windows.windows` has it, for windows that others read.
    """

    text: str
    context: int
    sites: int
    seed: int
    leave_out: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.sites < 2 or self.seed < 0:
            raise FsrlError(
                f"transport: sites is {self.sites} and seed {self.seed}; sites must be 2 or more, seed 0 or "
                "more"
            )


def fit(
    model: Model, hooks: Sequence[str], settings: Settings, device: str = "cpu", *, progress: bool = True
) -> Transport:
    """T at each hook and at the end of the stream, and J of blocks, on the CPU, with their provenance.

    hooks: where directions lie or, of hook_z and neurons, where they are added; the end, where T is the mean
    of N, comes last where none of them is there (lenses need it, and it costs nothing); device: cpu or cuda.
    J is of the blocks before the last at whose output a hook writes.
    Raises FsrlError for a hook outside the stream, a place that the model lacks and a text without windows
    enough.
    """
    n = len(model.bridge.blocks)
    places = {hook: forward.place_in(model.bridge, hook) for hook in hooks}
    if (end := Place(n, False)) not in places.values():
        places[end.name(n)] = end
    hooks = list(places)
    reverse.check_places(model.bridge, places)
    inputs = windows.windows(
        model.tokenizer,
        settings.text,
        context=settings.context,
        contexts=-(-settings.sites // SITES_OF_A_WINDOW),
        d_vocab=model.bridge.cfg.d_vocab,
        leave_out=settings.leave_out,
    )
    if len(inputs) < 2:
        raise FsrlError("transport: one window of text is left, its error needs two; give a longer text")
    contexts, positions = choose_sites(len(inputs), settings.context, settings.sites, settings.seed)
    bridge = model.bridge if device == "cpu" else model.bridge.to(device)
    unlike = scope.unlike_gpt2(bridge.original_model.config.to_dict())
    logger.info("%d sites in %d windows: %s", len(contexts), len(inputs), unlike or "closed form of GPT-2")
    asked = sorted(set(places.values()))
    outputs = [place for place in asked if not place.mid and 0 < place.layer < n]
    where = (inputs.to(device), contexts, positions, asked)
    jacobians = _reverse(bridge, *where) if unlike else _closed_form(bridge, *where)
    shown = tqdm(desc="transport", total=len(contexts), unit="site", disable=not progress, mininterval=5)
    with shown:
        normed, plain = _summed(jacobians, model, contexts % 2, asked[0], outputs, shown)
    means, errors = normed.means(), normed.errors()
    metadata = _made_from(model, settings, device) | {
        "method": f"automatic differentiation ({unlike})" if unlike else "closed form",
        "sites": str(len(contexts)),
        "windows": f"{len(inputs)} of {settings.context} tokens, spread over the text",
        "split_half_error": json.dumps({hook: round(errors[places[hook]], 6) for hook in hooks}),
    }
    T = torch.stack([means[places[hook]] for hook in hooks]).float().cpu()
    of_blocks = {place.layer - 1: mean.float().cpu() for place, mean in sorted(plain.means().items())}
    return Transport(T, tuple(hooks), metadata, of_blocks)


def _summed(
    jacobians: "Jacobians",
    model: Model,
    halves: Int64[Tensor, "sites"],
    first: Place,
    outputs: Collection[Place],
    shown: Any,
) -> tuple["_Sums", "_Sums"]:
    """N J of every place, and J at the outputs of blocks, over all sites.

    halves: which one each site is of; first: the place that a site comes to last; shown: the bar.
    """
    normed, plain = _Sums(model.d_model), _Sums(model.d_model)
    for sites, place, J, x_end in jacobians:
        N_J = closed_form.behind_norm(J, x_end, model.head.norm, model.bridge.cfg.eps)
        normed.add(place, halves[sites], N_J)
        if place in outputs:
            plain.add(place, halves[sites], J)
        shown.update(len(sites) if place == first else 0)
    return normed, plain


def _made_from(model: Model, settings: Settings, device: str) -> dict[str, str]:
    """What of the metadata is known before the first site."""
    return {
        **model.metadata,
        **devices.described(device),
        "layers": str(len(model.bridge.blocks)),
        "parallel_blocks": str(Place(0, True).name(1) not in model.bridge.hook_dict).lower(),
        "position": "same",
        "seed": str(settings.seed),
        "left_out": json.dumps(settings.leave_out),
        "first_token": str(windows.first_token(model.tokenizer)),
        "text_sha256": hashlib.sha256(settings.text.encode()).hexdigest(),
    }


def choose_sites(
    n_windows: int, context: int, sites: int, seed: int
) -> tuple[Int64[Tensor, "sites"], Int64[Tensor, "sites"]]:
    """Window and position of each site, in the order of the windows, which share them evenly.

    Positions are uniform from `FIRST_POSITION` on, and each counts once; where there are fewer, all count.
    """
    each = np.full(n_windows, sites // n_windows) + (np.arange(n_windows) < sites % n_windows)
    body = np.arange(windows.FIRST_POSITION, context)
    rng = np.random.default_rng(seed)
    chosen = [np.sort(rng.permutation(body)[:n]) for n in each]
    counts = [len(part) for part in chosen]
    return torch.from_numpy(np.repeat(np.arange(n_windows), counts)), torch.from_numpy(np.concatenate(chosen))


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of each place, matrices summed over the sites of either half, and how many they are."""

    d_model: int
    totals: dict[Place, Float64[Tensor, "2 d_model d_model"]] = field(default_factory=dict)
    counts: dict[Place, Int64[Tensor, "2"]] = field(default_factory=dict)

    def add(
        self, place: Place, halves: Int64[Tensor, "sites"], each: Float[Tensor, "sites d_model d_model"]
    ) -> None:
        """Add sites; halves: 0 or 1 for each."""
        if place not in self.totals:
            size = (2, self.d_model, self.d_model)
            self.totals[place] = torch.zeros(size, dtype=torch.float64, device=each.device)
            self.counts[place] = torch.zeros(2, dtype=torch.int64)
        for half in (0, 1):
            self.totals[place][half] += each[(halves == half).to(each.device)].sum(0, dtype=torch.float64)
            self.counts[place][half] += int((halves == half).sum())

    def means(self) -> dict[Place, Float64[Tensor, "d_model d_model"]]:
        """The mean at each place."""
        return {place: total.sum(0) / int(self.counts[place].sum()) for place, total in self.totals.items()}

    def errors(self) -> dict[Place, float]:
        """‖T_1 - T_2‖ / (2 ‖T‖) of each place, T the mean, T_1 and T_2 those of the halves."""
        means, found = self.means(), {}
        for place, total in self.totals.items():
            first, second = (total[half] / int(self.counts[place][half]) for half in (0, 1))
            found[place] = float((first - second).norm() / (2 * means[place].norm()))
        return found


# Numbers of sites, a place, ∂x_end/∂x of these and their x_end.
Jacobians = Iterator[
    tuple[
        Int64[Tensor, "sites"],
        Place,
        Float[Tensor, "sites d_model d_model"],
        Float[Tensor, "sites d_model"],
    ]
]


@torch.no_grad()
def _closed_form(
    bridge: Any,
    inputs: Int64[Tensor, "windows context"],
    contexts: Int64[Tensor, "sites"],
    positions: Int64[Tensor, "sites"],
    places: Sequence[Place],
) -> Jacobians:
    tail = forward.Tail.of(bridge, inputs.device)
    n, first = len(tail.blocks), places[0]
    passed = [Place(layer, mid) for layer in range(n) for mid in (False, True)]
    passed = [place for place in passed if place >= first]
    size = forward.rows(inputs.device, closed_form.site_bytes(tail, 4))
    for start in range(0, len(inputs), WINDOWS_AT_ONCE):
        part = inputs[start : start + WINDOWS_AT_ONCE]
        clean = forward.run_clean(bridge, part, passed, [], inputs.device, progress=False)
        inside = ((contexts >= start) & (contexts < start + len(part))).nonzero().squeeze(1)
        for sites in inside.split(size):
            where = (contexts[sites] - start).to(inputs.device), positions[sites].to(inputs.device)
            if first.layer < n:
                forward.check_repeats(tail, clean, first, *where)
            for place, J in closed_form.sweep(tail, clean, *where, places):
                yield sites, place, J, clean.final[where]


def _reverse(
    bridge: Any,
    inputs: Int64[Tensor, "windows context"],
    contexts: Int64[Tensor, "sites"],
    positions: Int64[Tensor, "sites"],
    places: Sequence[Place],
) -> Jacobians:
    bridge.requires_grad_(False)
    for site, (context, position) in enumerate(zip(contexts.tolist(), positions.tolist(), strict=True)):
        found, x_end = reverse.jacobians(bridge, inputs[context], position, places, rows=ROWS_AT_ONCE)
        # The first place last: it counts the sites.
        for place in reversed(places):
            yield torch.tensor([site]), place, found[place][None], x_end[None]
