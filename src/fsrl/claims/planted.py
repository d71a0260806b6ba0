"""A world with a known answer: an unembedding and decoder rows into which feature types were planted.

Token sets are runs of a real vocabulary in alphabetical order (so their members look alike): partitions hold
.1 to .5 of it, predicted and suppressed sets 3 tokens to 5 %, local context 1 to 20 tokens. The synthetic W_U
gives every set one dimension in which its tokens stand apart, as real ones have for spacing or capitals.
The rest is made so that chance is not Gaussian, as in real models: rare tokens have longer columns, tokens
that are neighbours in the alphabet share a part of theirs, and the last 2 % of the vocabulary (the rarest, in
BPE's order) lie together, as undertrained tokens do. All of it is whitened, turned at random and given a
falling spectrum, so that no set's dimension is a principal axis of W_U, which a sign flip would leave alone.

A planted direction is found by ridge regression of the set's indicator on W_U and laid over an isotropic
direction, its bulk, so that the set's mean logit weight lies `strength` standard deviations (within the
groups) above that of all other tokens; below, for a suppression; on either side, for a partition. With p the
set's share, q = 1 - p and h the strength, the set explains eta^2 = a^2 = p q h^2 / (1 + p q h^2) of the
variance, and a perfect plant on a bulk with kurtosis kappa0 has

    skewness = +- a^3 (1 - 2p) / sqrt(p q)
    kurtosis = 3 + a^4 (1 / (p q) - 6) + (1 - a^2)^2 (kappa0 - 3)

so a partition's kurtosis can be low only for p near one half: at p = .1 it is never below 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from scipy.stats import norm
from torch import Tensor

from fsrl.errors import FsrlError
from fsrl.moments import engine
from fsrl.moments.formulas import Typical
from fsrl.moments.frames import MEASURED
from fsrl.moments.tails import with_tails
from fsrl.tokens.text import decode
from fsrl.types.rules import ORDER

NONE = "none"
PARTITION_SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
GROUP_SHARES = (0.004, 0.006, 0.01, 0.02, 0.035, 0.05)
SUPPRESSED_TOKENS = (3, 10, 30)
LOCAL_TOKENS = (1, 2, 3, 5, 8, 12, 16, 20)
# A group of fewer tokens than this would be a local context by its size.
LEAST_GROUP = 30
# How far a set's tokens stand apart in its dimension, in standard deviations of that dimension's rest.
CONTRAST = 20.0
# Half of a Gaussian's fourth and eighth moments.
HALF_GAUSSIAN = {4: 1.5, 8: 52.5}
RIDGE = 1e-6
# How far the rarest tokens lie from the others in every dimension, in its standard deviations: makes the
# isotropic null's 0.999 quantile of kurtosis about 4, as it is over the trained tokens of `mini`.
RARE_OFFSET = 1.0


@dataclass(frozen=True, eq=False)
class World:
    """An unembedding with its sets: a table with columns type, set, tokens, share, and their members, a row
    for each of its rows.
    """

    W_U: Float32[Tensor, "d_model d_vocab"]
    sets: pd.DataFrame
    members: Bool[Tensor, "n_sets d_vocab"]

    def to(self, device: str) -> "World":
        """The same world on another device."""
        return replace(self, W_U=self.W_U.to(device), members=self.members.to(device))


@dataclass(frozen=True, eq=False)
class Planted:
    """W_dec; truth: what was planted in each row (type, which may be none, set, tokens, share, strength and
    eta2, the set's share of the logit weights' variance); moments: what the rows really have, with the
    columns that the types are read from; perfect: the same of perfect plants, in closed form.
    """

    W_dec: Float32[Tensor, "features d_model"]
    truth: pd.DataFrame
    moments: pd.DataFrame
    perfect: pd.DataFrame


def world(tokens: Sequence[str], *, d_model: int, seed: int, along_axes: bool = False) -> World:
    """A synthetic W_U over a vocabulary, tokens as stored ("Ġthe") in the order of their ids.

    along_axes: make the sets' dimensions the first principal axes of W_U, one each. Raises FsrlError where
    d_model is less than twice the number of sets, or the vocabulary below 1000 tokens.
    """
    if len(tokens) < 1000:
        raise FsrlError(f"planted: {len(tokens)} tokens; the sets need a vocabulary of at least 1000")
    generator = np.random.default_rng([seed, 0])
    text = [(decode(token).strip().casefold(), token) for token in tokens]
    order = np.array(sorted(range(len(tokens)), key=text.__getitem__))
    sets, members = _sets(order, generator)
    if d_model < 2 * len(sets):
        raise FsrlError(f"planted: d_model is {d_model}, but {len(sets)} sets need at least {2 * len(sets)}")
    steps = CONTRAST * members + generator.standard_normal(members.shape)
    columns = np.concatenate([steps, _bulk(order, d_model - len(sets), generator)])
    W_U = _spread(columns, generator, along_axes) + 0.5 * generator.standard_normal((d_model, 1))
    return World(torch.from_numpy(W_U.astype(np.float32)), sets, torch.from_numpy(members))


def plant(
    where: World, *, features: int, share: float, strengths: Sequence[float], typical: Typical, seed: int
) -> Planted:
    """Decoder rows, a `share` of them of each of the four types, the rest isotropic directions.

    strengths: of the planted features, in turn; typical: of isotropic directions under the world's
    W_U. Rows have norms between about .5 and 2; they lie, and are computed, where W_U lies. Raises FsrlError
    for a share that leaves no row unplanted and a strength that no direction reaches.
    """
    each = round(share * features)
    if not 0 < share < 0.25 or each < 1 or min(strengths, default=0) <= 0:
        raise FsrlError(
            f"planted: share {share} of {features} features at strengths {list(strengths)}; the share of "
            "each type must lie above 0 and below .25, give one feature, and strengths must be positive"
        )
    generator = np.random.default_rng([seed, 1])
    rows = _choose(where.sets, features, each, strengths, generator)
    bulk = generator.standard_normal((features, where.W_U.shape[0]))
    directions = torch.from_numpy(bulk / np.linalg.norm(bulk, axis=1, keepdims=True)).to(where.W_U.device)
    laid = np.flatnonzero(rows["type"] != NONE)
    places = torch.from_numpy(laid).to(directions.device)
    directions[places] = _lay(where, rows.iloc[laid], directions[places])
    norms = torch.from_numpy(np.exp(0.3 * generator.standard_normal(features))).to(directions)
    directions *= (norms / directions.norm(dim=1)).unsqueeze(1)
    W_dec = directions.float()
    measured = measure(W_dec, where.W_U, typical)
    perfect = _perfect(rows, where.W_U.shape[1], typical)
    truth = rows.drop(columns=["row", "sign"]).assign(eta2=perfect.pop("eta2"))
    # The set adds to the bulk's std what the plant makes of it: there is no more perfect one.
    perfect = perfect.assign(std=measured["std"], norm=measured["norm"])
    return Planted(W_dec, truth, measured, perfect)


def _sets(
    order: Int64[np.ndarray, "d_vocab"], generator: np.random.Generator
) -> tuple[pd.DataFrame, Bool[np.ndarray, "n_sets d_vocab"]]:
    """The sets' table and members: runs of the alphabetical order that start at random places."""
    d_vocab = len(order)
    groups = [max(LEAST_GROUP, round(share * d_vocab)) for share in GROUP_SHARES]
    sizes = {
        "local_context": 2 * LOCAL_TOKENS,
        "prediction": 2 * groups,
        "suppression": 2 * [*SUPPRESSED_TOKENS, *groups[2::2]],
        "partition": [round(share * d_vocab) for share in PARTITION_SHARES],
    }
    rows, members = [], []
    for name in ORDER:
        for number, size in enumerate(sizes[name]):
            start = int(generator.integers(d_vocab))
            member = np.zeros(d_vocab, dtype=bool)
            member[np.roll(order, -start)[:size]] = True
            members.append(member)
            rows.append((name, f"{name}_{number}_{size}", size, size / d_vocab))
    table = pd.DataFrame(rows, columns=["type", "set", "tokens", "share"])
    return table.astype({"type": "str", "set": "str"}), np.stack(members)


def _bulk(
    order: Int64[np.ndarray, "d_vocab"], dimensions: int, generator: np.random.Generator
) -> Float64[np.ndarray, "dimensions d_vocab"]:
    """The dimensions without a set: neighbours alike, rare tokens long and together."""
    d_vocab = len(order)
    neighbourhood = np.empty(d_vocab, dtype=int)
    neighbourhood[order] = np.arange(d_vocab) * 100 // d_vocab
    centres = generator.standard_normal((dimensions, 100))
    own = generator.standard_normal((dimensions, d_vocab))
    length = 0.7 + 0.6 * np.arange(d_vocab) / d_vocab
    columns = (0.5 * centres[:, neighbourhood] + 0.75**0.5 * own) * length
    rare = np.arange(d_vocab) >= 0.98 * d_vocab
    return columns + RARE_OFFSET * generator.standard_normal((dimensions, 1)) * rare


def _spread(
    columns: Float64[np.ndarray, "d_model d_vocab"], generator: np.random.Generator, along_axes: bool
) -> Float64[np.ndarray, "d_model d_vocab"]:
    """`columns` whitened, with a falling spectrum, mean square 1, along random axes or along the dimensions.

    An invertible map: what some direction could do to the logits before, another one can do after it.
    """
    centred = columns - columns.mean(axis=1, keepdims=True)
    d_model, d_vocab = columns.shape
    white = np.linalg.solve(np.linalg.cholesky(centred @ centred.T / d_vocab), centred)
    turn, back = (np.linalg.qr(generator.standard_normal((d_model, d_model)))[0] for _ in range(2))
    if along_axes:  # Cholesky's factor is triangular: the first dimensions, the sets', stay themselves
        turn = np.eye(d_model)
    spectrum = np.arange(1, d_model + 1) ** -0.25
    return back @ ((spectrum / np.sqrt((spectrum**2).mean()))[:, None] * (turn @ white))


def _choose(
    sets: pd.DataFrame, features: int, each: int, strengths: Sequence[float], generator: np.random.Generator
) -> pd.DataFrame:
    """One row per feature in random order: what is planted, at which strength; row: its place in `sets`."""
    parts = []
    for name in ORDER:
        rows = np.flatnonzero(sets["type"] == name)
        picks = rows[np.arange(each) % len(rows)]
        # The strengths change once all sets have had one, so that every set meets every strength.
        steps = np.asarray(strengths, dtype=np.float64)[np.arange(each) // len(rows) % len(strengths)]
        part = sets.iloc[picks].reset_index(drop=True).assign(row=picks, strength=steps)
        parts.append(part)
    planted = pd.concat(parts, ignore_index=True)
    empty = {"type": NONE, "set": NONE, "tokens": 0, "share": 0.0, "row": -1, "strength": np.nan}
    none = pd.DataFrame(empty, index=range(features - len(planted)))
    rows = pd.concat([planted, none]).iloc[generator.permutation(features)].reset_index(drop=True)
    rows["sign"] = np.where(rows["type"] == "suppression", -1.0, 1.0)
    either = np.where(generator.random(features) < 0.5, -1.0, 1.0)
    rows["sign"] = rows["sign"].where(rows["type"] != "partition", either)
    rows.insert(0, "feature", np.arange(features, dtype=np.int32))
    return rows.astype({"type": "str", "set": "str", "tokens": "int32"})


def _lay(
    where: World, rows: pd.DataFrame, bulk: Float64[Tensor, "rows d_model"]
) -> Float64[Tensor, "rows d_model"]:
    """bulk + x sign d_set, with x such that the set's gap is `strength` wide.

    With d_set scaled to a gap of 1: (x + beta)^2 = h^2 (x^2 v + 2 x gamma + v_b), where v, v_b and gamma are
    the variances of both parts and their covariance within the groups, beta and 1 their gaps.
    """
    W_U, members = where.W_U.double(), where.members.double()
    shares = members.mean(dim=1, keepdim=True)
    centred = W_U - W_U.mean(dim=1, keepdim=True)
    C = centred @ centred.T / W_U.shape[1]
    gaps = members @ centred.T / (members.sum(dim=1, keepdim=True) * (1 - shares))  # [sets, d_model]
    ridge = RIDGE * C.diagonal().mean() * torch.eye(len(C), dtype=C.dtype, device=C.device)
    signals = torch.linalg.solve(C + ridge, gaps.T).T
    signals = signals / (signals * gaps).sum(dim=1, keepdim=True)

    row = torch.tensor(rows["row"].tolist(), device=C.device)
    h2 = torch.tensor(rows["strength"].tolist(), dtype=C.dtype, device=C.device) ** 2
    sign = torch.tensor(rows["sign"].tolist(), dtype=C.dtype, device=C.device).unsqueeze(1)
    signal, gap = sign * signals[row], sign * gaps[row]
    between = (shares * (1 - shares))[row].squeeze(1)
    beta = (gap * bulk).sum(1)
    v = ((signal @ C) * signal).sum(1) - between
    v_bulk = ((bulk @ C) * bulk).sum(1) - between * beta**2
    gamma = ((signal @ C) * bulk).sum(1) - between * beta
    a, b, c = 1 - h2 * v, beta - h2 * gamma, beta**2 - h2 * v_bulk
    if (a <= 0).any():
        at = int((a <= 0).int().argmax())
        raise FsrlError(
            f"planted: strength {rows['strength'].iloc[at]:g} of set {rows['set'].iloc[at]} is out of reach; "
            f"no direction reaches {v[at] ** -0.5:.1f}, give less"
        )
    x = (-b + (b**2 - a * c).sqrt()) / a
    return bulk + x.unsqueeze(1) * signal


def _perfect(rows: pd.DataFrame, d_vocab: int, typical: Typical) -> pd.DataFrame:
    """The share eta2 that the set explains, and the shape that a perfect plant would have (module docstring);
    for none: the bulk's.
    """
    p, h = rows["share"].to_numpy(), rows["strength"].fillna(0).to_numpy()
    pq = p * (1 - p)
    eta2 = pq * h**2 / (1 + pq * h**2)
    width = np.where(pq > 0, pq, 1.0)
    sign = rows["sign"].to_numpy()
    skewness = sign * eta2**1.5 * (1 - 2 * p) / np.sqrt(width)
    kurtosis = 3 + eta2**2 * (1 / width - 6) + (1 - eta2) ** 2 * (typical.kurtosis - 3)
    right_kurtosis = _one_side(sign, p, eta2, 4, typical.right_kurtosis)
    sides = {
        "right_eighth": _one_side(sign, p, eta2, 8, typical.right_eighth),
        "left_eighth": _one_side(-sign, p, eta2, 8, typical.right_eighth),
    }
    shape = {"skewness": skewness, "kurtosis": kurtosis, "right_kurtosis": right_kurtosis} | sides
    return with_tails(pd.DataFrame({"eta2": eta2} | shape), d_vocab, typical)


def _one_side(
    sign: Float64[np.ndarray, "rows"],
    p: Float64[np.ndarray, "rows"],
    eta2: Float64[np.ndarray, "rows"],
    power: int,
    of_bulk: float,
) -> Float64[np.ndarray, "rows"]:
    """mean(max(z, 0)^power) of two Gaussian groups, the set's (a share p, raised where sign is 1) and the
    others', and what the bulk alone has (of_bulk) beyond a Gaussian, made smaller as the bulk is.
    """
    width = np.sqrt(1 - eta2)
    share = np.where(p > 0, p, 0.5)  # eta2 is 0 where nothing is planted: any share gives one Gaussian
    raised = sign * np.sqrt(eta2 * (1 - share) / share)
    others = -sign * np.sqrt(eta2 * share / (1 - share))
    inside, outside = (right_moment(mean, width, power) for mean in (raised, others))
    beyond = of_bulk - HALF_GAUSSIAN[power]
    return share * inside + (1 - share) * outside + width**power * beyond


def right_moment(
    mean: Float64[np.ndarray, "rows"], std: Float64[np.ndarray, "rows"], power: int
) -> Float64[np.ndarray, "rows"]:
    """E max(x, 0)^power of Gaussian x, by I_n = mean I_(n-1) + (n - 1) std^2 I_(n-2)."""
    before, found = norm.cdf(mean / std), mean * norm.cdf(mean / std) + std * norm.pdf(mean / std)
    for n in range(2, power + 1):
        before, found = found, mean * found + (n - 1) * std**2 * before
    return found


def measure(
    W_dec: Float[Tensor, "features d_model"], W_U: Float[Tensor, "d_model d_vocab"], typical: Typical
) -> pd.DataFrame:
    """The columns of table `moments` that the type rules read, for the rows of W_dec under W_U."""
    found = engine.logit_moments(W_dec, W_U, precision="auto", n_extremes=0, n_bins=0)
    frame = pd.DataFrame({name: getattr(found, name).numpy() for name in MEASURED})
    frame.insert(0, "feature", np.arange(len(frame), dtype=np.int32))
    return with_tails(frame, found.d_vocab, typical)
