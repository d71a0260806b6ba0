"""One layer steered: each feature of a sample, and a random direction of the same norm in its place.

Each is added at the last position of every prompt, at a multiple of the feature's largest activation on the
text, and scored there (`fsrl.steering.scores`); figures are means over the prompts. What its weights forecast
is the same score with the blocks between left out: at the end of the stream the row itself is added (direct),
or T times the row (transported, `fsrl.weights.transport`), and the final norm is applied. In a model's last
place the direct forecast is therefore the measured score.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from fsrl import threads
from fsrl.effects import forward
from fsrl.effects.agreement import mean_and_covariance
from fsrl.errors import FsrlError
from fsrl.hooks import Place, place_of
from fsrl.models.windows import FIRST_POSITION
from fsrl.steering import scores
from fsrl.steering.prompts import Prompts
from fsrl.tables.steering import FEATURE, RANDOM, STEERING
from fsrl.weights import columns
from fsrl.weights.matrices import Decoder

SAMPLED, ALL = "sampled", "all"
# Features whose activations are held at a time.
FEATURES_AT_ONCE = 2048
# Of 4 bytes, what one row and prompt hold of a logit on the way.
COPIES = 8


@dataclass(frozen=True)
class Steering:
    """features: `sampled` by type as effects are, or `all`; multiple: of a feature's largest activation, what
    is added; top_tokens: how many are scored; prompts: texts whose next token is watched.

    Raises FsrlError for another word, no prompt, and numbers that cannot be.
    """

    features: str
    multiple: float
    top_tokens: int
    prompts: tuple[str, ...]

    def __post_init__(self) -> None:
        known = self.features in (SAMPLED, ALL)
        if not (known and self.multiple > 0 and self.top_tokens > 0 and self.prompts):
            raise FsrlError(
                f"steering: features is {self.features!r} ({SAMPLED} or {ALL}), multiple {self.multiple} "
                f"(above 0), top_tokens {self.top_tokens} (1 or more), prompts {len(self.prompts)}"
            )

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Steering":
        """From the config's section."""
        return cls(**dict(settings) | {"prompts": tuple(settings["prompts"])})


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """W_U folded, of every token, and the ids of those that the view has."""

    W_U: Float[Tensor, "d_model d_vocab"]
    token_ids: Int64[Tensor, "n_tokens"]

    @cached_property
    def seen(self) -> Float[Tensor, "d_model n_tokens"]:
        """The columns of the view's tokens."""
        return columns.taken(self.W_U, self.token_ids)

    @cached_property
    def covariance(self) -> Float64[Tensor, "d_model d_model"]:
        """Of the columns of the view's tokens."""
        return mean_and_covariance(self.seen)[1]


@dataclass(frozen=True, eq=False)
class Watched:
    """What a layer's features are steered with. inputs: token ids of the text that activations are of; T: of
    the layer's hook, None where a study has none.
    """

    prompts: Prompts
    vocabulary: Vocabulary
    inputs: Int64[Tensor, "contexts positions"]
    T: Float[Tensor, "d_model d_model"] | None
    steering: Steering


@dataclass(frozen=True, eq=False)
class Readings:
    """Means over prompts, a row a direction; NaN in what needs T where there is none."""

    relative_push: Float64[Tensor, "n"]
    clean_score: Float64[Tensor, "n"]
    output_score: Float64[Tensor, "n"]
    transported_score: Float64[Tensor, "n"]
    total_variation: Float64[Tensor, "n"]
    kl: Float64[Tensor, "n"]
    direct_forecast: Float64[Tensor, "n"]
    transported_forecast: Float64[Tensor, "n"]


@dataclass(frozen=True, eq=False)
class Directions:
    """What is added, and the tokens that it is scored on: of largest weight, direct and transported (or
    None).

    added: rows times what they are multiplied by.
    """

    added: Float[Tensor, "n d_model"]
    tokens: Int64[Tensor, "n k"]
    transported: Int64[Tensor, "n k"] | None

    def between(self, start: int, end: int) -> "Directions":
        """Some of them."""
        moved = None if self.transported is None else self.transported[start:end]
        return Directions(self.added[start:end], self.tokens[start:end], moved)


# Activations [contexts, positions, features], on the CPU, of the features asked for.
Activations = Callable[[Int64[Tensor, "features"]], Float[Tensor, "contexts positions features"]]


def layer(
    decoder: Decoder, sample: pd.DataFrame, activations: Activations, watched: Watched, seed: Sequence[int]
) -> pd.DataFrame:
    """The table `steering` of one layer.

    sample: of `fsrl.effects.sample.choose_features`; seed: of the SAE, from which each feature's random
    direction has its own, so that another sample gives a feature the same figures.
    """
    largest, own_input, readings = [], [], []
    for chosen in chunks(sample):
        found = _steered(decoder, chosen, activations(chosen), watched, seed)
        largest.append(found[0])
        own_input.append(found[1])
        readings.append(found[2])
    joined = {name: _joined([part[name] for part in readings]) for name in (FEATURE, RANDOM)}
    multiple = watched.steering.multiple
    return frame(sample, torch.cat(largest).numpy(), multiple, torch.cat(own_input).numpy(), joined)


def chunks(sample: pd.DataFrame) -> Iterator[Int64[Tensor, "features"]]:
    """The sample's features, as many at a time as activations are held of."""
    yield from torch.tensor(sample["feature"].to_numpy(dtype="int64")).split(FEATURES_AT_ONCE)


def _steered(
    decoder: Decoder,
    features: Int64[Tensor, "features"],
    activations: Float[Tensor, "contexts positions features"],
    watched: Watched,
    seed: Sequence[int],
) -> tuple[Float64[Tensor, "features"], Float64[Tensor, "features"], dict[str, Readings]]:
    """Of some features the largest activation, the input score and the readings."""
    activations = activations.clone()
    activations[:, :FIRST_POSITION] = 0
    largest = activations.amax((0, 1)).double()
    largest = largest.masked_fill(largest <= 0, torch.nan)
    place, W_U, k = place_of(decoder.hook), watched.vocabulary.W_U, watched.steering.top_tokens
    rows = decoder.W_dec[features].to(W_U)
    both = {FEATURE: rows, RANDOM: random_rows(rows, [(*seed, int(feature)) for feature in features])}
    tokens = {name: weights_tokens(part, watched.vocabulary, watched.T, k) for name, part in both.items()}
    factor = (watched.steering.multiple * largest).nan_to_num(1.0).to(W_U)[:, None]
    readings = {
        name: read(watched.prompts, place, Directions(part * factor, *tokens[name]), watched.T)
        for name, part in both.items()
    }
    own = scores.input_scores(activations, watched.inputs, tokens[FEATURE][0].cpu())
    return largest, own, readings


def _joined(parts: Sequence[Readings]) -> Readings:
    return Readings(
        **{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Readings)}
    )


def random_rows(
    rows: Float[Tensor, "n d_model"], seeds: Sequence[Sequence[int]]
) -> Float[Tensor, "n d_model"]:
    """A random direction for each row, of the same norm, by a seed of its own."""
    drawn = [np.random.default_rng((*seed, 2)).standard_normal(rows.shape[1]) for seed in seeds]
    found = torch.from_numpy(np.stack(drawn))
    return (found / found.norm(dim=1, keepdim=True) * rows.double().norm(dim=1, keepdim=True).cpu()).to(rows)


def weights_tokens(
    rows: Float[Tensor, "n d_model"],
    vocabulary: Vocabulary,
    T: Float[Tensor, "d_model d_model"] | None,
    k: int,
) -> tuple[Int64[Tensor, "n k"], Int64[Tensor, "n k"] | None]:
    """The k tokens of the view with the largest weights of each row, direct and transported."""
    found: list[Tensor] = []
    seen, token_ids = vocabulary.seen, vocabulary.token_ids
    for moved in [rows] if T is None else [rows, rows @ T.T]:
        size = forward.rows(seen.device, 3 * 4 * len(token_ids))
        found.append(torch.cat([scores.top_tokens(part @ seen, token_ids, k) for part in moved.split(size)]))
    return found[0], found[1] if T is not None else None


def read(
    prompts: Prompts, place: Place, directions: Directions, T: Float[Tensor, "d_model d_model"] | None
) -> Readings:
    """Every direction added at a place of every prompt; T: of the place, None where a study has none."""
    device, bytes_each = prompts.final.device, 4 * prompts.offset.numel()
    size, few = forward.rows(device, COPIES * bytes_each), forward.rows_in_cache(device, COPIES, bytes_each)

    @torch.no_grad()
    def part(start: int) -> Readings:
        """Of the directions that go through the blocks in one go."""
        some = directions.between(start, start + size)
        at_end = [some.added] if T is None or some.transported is None else [some.added, some.added @ T.T]
        pushed, reads, found = prompts.push(place, some.added), [prompts.read(one) for one in at_end], []
        # The logits of few directions stay in the cache until all is read off them.
        for i in range(0, len(pushed), few):
            own = slice(i, i + few)
            forecasts = [prompts.logits_with(x[own], y[own]) for x, y in zip(at_end, reads, strict=True)]
            steered = prompts.logits(pushed[own])
            found.append(_scored(prompts, place, some.between(i, i + few), steered, *forecasts))
        return _joined(found)

    # A batch is many small steps, at each of which threads of one would wait for one another.
    with threads.workers(prompts.final.device) as pool:
        parts = list(pool.map(part, range(0, len(directions.added), size)))
    return _joined(parts)


def _scored(
    prompts: Prompts,
    place: Place,
    directions: Directions,
    steered: Float[Tensor, "n prompts d_vocab"],
    direct: Float[Tensor, "n prompts d_vocab"],
    carried: Float[Tensor, "n prompts d_vocab"] | None = None,
) -> Readings:
    """steered: logits with the directions added; direct, carried: with what reaches the end added there."""
    shape = steered.shape[:2]
    tokens = directions.tokens[:, None].expand(*shape, -1)
    log_Z, before = steered.logsumexp(-1), prompts.before
    variation, kl = scores.distances(steered - log_Z[..., None], before.log_q, before.q)
    best_before = prompts.clean.T[directions.tokens].amax(1)

    by_own = by_carried = torch.full_like(variation, torch.nan)
    if carried is not None and directions.transported is not None:
        moved = directions.transported[:, None].expand(*shape, -1)
        by_own, by_carried = (
            scores.output_scores(steered, moved, log_Z),
            scores.output_scores(carried, tokens),
        )
    centred = forward.centred(prompts.stream[place])
    found = {
        "relative_push": directions.added.norm(dim=1)[:, None] / centred.norm(dim=1),
        "clean_score": scores.output_scores_of_one(before.ordered, best_before, before.log_Z),
        "output_score": scores.output_scores(steered, tokens, log_Z),
        "transported_score": by_own,
        "total_variation": variation,
        "kl": kl,
        "direct_forecast": scores.output_scores(direct, tokens),
        "transported_forecast": by_carried,
    }
    return Readings(**{name: values.double().mean(1).cpu() for name, values in found.items()})


def frame(
    sample: pd.DataFrame,
    largest: Float64[np.ndarray, "n"],
    multiple: float,
    own_input: Float64[np.ndarray, "n"],
    readings: dict[str, Readings],
) -> pd.DataFrame:
    """The table `steering` of one layer.

    sample: of `fsrl.effects.sample.choose_features`; largest: activation of each of its features, NaN for one
    that never fires, which has no figures; own_input: its input scores; readings: of `FEATURE` and `RANDOM`.
    """
    never = torch.from_numpy(np.isnan(largest))
    parts = []
    for direction, found in readings.items():
        figures = {
            field.name: getattr(found, field.name).masked_fill(never, torch.nan) for field in fields(Readings)
        }
        part = sample.reset_index(drop=True).assign(
            direction=direction,
            largest_activation=largest,
            multiple=float(multiple),
            input_score=own_input if direction == FEATURE else np.nan,
            **{name: values.numpy() for name, values in figures.items()},
        )
        for name in ("output_score", "total_variation"):
            among = getattr(readings[RANDOM], name).masked_fill(never, torch.nan)
            beyond = scores.percentiles(figures[name], among).numpy()
            part[f"{name}_percentile"] = beyond if direction == FEATURE else np.nan
        parts.append(part)
    text = {name: "str" for name, column in STEERING.columns.items() if column.dtype == "string"}
    made = pd.concat(parts, ignore_index=True).astype(text | {"feature": "int32", "log10_density": "float32"})
    order = made["direction"].map({FEATURE: 0, RANDOM: 1})
    made = made.assign(order=order).sort_values(["feature", "order"], kind="stable", ignore_index=True)
    return made[list(STEERING.columns)]
