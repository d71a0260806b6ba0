"""Tables of a study of 13 layers for the LaTeX tables, and readers of what these say."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from fsrl.claims import claims, claims_list
from fsrl.effects import summary as effect_summary
from fsrl.explanations import local as explanations
from fsrl.latex.types import ExemplarLayer
from fsrl.tables.claims import CLAIMS_TABLE
from fsrl.tables.effects import SUMMARY
from fsrl.tables.sensitivity import AGREEMENT, SENSITIVITY
from tests.fixtures import plot_tables

HOOKS = [*(f"blocks.{layer}.hook_resid_pre" for layer in range(12)), "blocks.11.hook_resid_post"]
SCHEME = "calibrated"
FEATURES = 80
ROOT = Path(__file__).parents[2]
BENCHMARKS = {name: ROOT / f"benchmarks/results/{name}_cpu.json" for name in ("moments", "enrichment")}
METADATA = {
    "W_U_processing": "folded: ln_f.weight folded in, centred over d_model; raw: as stored",
    "d_model": "768",
    "d_vocab": "50257",
    "decoder_mapping": "none",
    "decoder_scaling": "none",
    "model": "openai_community/gpt2_&_co",
    "model_revision": "b533ba679e743a63dbbea67043b1b542863f430c",
    "model_sha256": "a" * 64,
    "precision": "fp32",
    "release": "gpt2-small-res-jb",
    "sae_revision": "0123456789abcdef0123456789abcdef01234567",
    "sae-lens": "6.54.12",
    "torch": "2.13.0+cpu",
    "trained_tokens": "at least 100 occurrences in the training text: 205 left out",
    "transformer-lens": "3.9.0",
    "view": json.dumps({"cosine": False, "tokens": "trained", "w_u": "folded"}),
}


def rows(table: str) -> list[list[str]]:
    """The cells of a table's body, without lines over the whole width."""
    body = table.split(r"\midrule", 1)[1] if r"\midrule" in table else table.split(r"\toprule", 1)[1]
    lines = [line.removesuffix(r" \\") for line in body.splitlines() if line.endswith(r"\\")]
    return [line.split(" & ") for line in lines if not line.startswith(r"\multicolumn")]


def figure(cell: str) -> float:
    """The number in a cell; NaN for one that is missing."""
    found = re.search(r"[+-]?\d[\d.]*(e-?\d+)?", cell)
    return float(found[0]) if found else float("nan")


@cache
def layers() -> dict[str, dict[str, pd.DataFrame]]:
    study = plot_tables.Study(draws=500)
    return {hook: study.layer(n=FEATURES) for hook in HOOKS}


def of(name: str) -> dict[str, pd.DataFrame]:
    """SAE id -> one of the layer's tables."""
    return {hook: frames[name] for hook, frames in layers().items()}


def metadata() -> dict[str, dict[str, str]]:
    return {hook: METADATA | {"sae_sha256": f"{i:064x}"} for i, hook in enumerate(HOOKS)}


def exemplar_layers() -> dict[str, ExemplarLayer]:
    """Of the first six layers features 0, 2, 4 ... have a long explanation, 2, 6, 10 ... a short one too."""
    found = {}
    for i, (hook, frames) in enumerate(layers().items()):
        text = r"words like \textbf{50%} & $x_1^2$ ~ #tags, the model's “quotes”, 中文 and 😀 " * 4
        known = [(feature, text) for feature in range(0, FEATURES, 2)]
        known += [(feature, "short_one") for feature in range(2, FEATURES, 4)]
        known.append((9, explanations.NOTHING + "; highest logit weights: x"))
        said = pd.DataFrame(known, columns=["feature", "description"]) if i < 6 else None
        found[hook] = ExemplarLayer(frames["moments"], frames["types"], frames["extremes"], said)
    return found


def claims_frame(seed: int = 0) -> pd.DataFrame:
    """Every claim under two schemes with random verdicts; the second scheme lacks local_context."""
    rng = np.random.default_rng(seed)
    verdicts = [claims.HOLDS, claims.CONTRADICTED, claims.UNDECIDED, claims.CANNOT_SPEAK]
    found = []
    for scheme in (SCHEME, "universal_neurons"):
        for number, claim in enumerate(claims_list.CLAIMS):
            if scheme != SCHEME and claim.type == "local_context":
                continue
            for hook in HOOKS:
                verdict = str(rng.choice(verdicts[:2] if number == 1 else verdicts))
                verdict = claims.BY_DEFINITION if number == 2 else verdict
                spoke = verdict not in (claims.CANNOT_SPEAK, claims.BY_DEFINITION)
                effect = float(np.exp(rng.normal(0, 3))) if spoke else np.nan
                row = (scheme, claim.name, claim.type, claim.statement, claim.test, hook, 20, 1000, 18, 900)
                row += (claim.measure, 0.1, 0.2, min(effect, 0.97) if claim.measure == "AUC" else effect)
                found.append((*row, effect / 2, effect * 2, 0.01, 0.2, verdict))
    return pd.DataFrame(found, columns=list(CLAIMS_TABLE.columns))


def effects_frame(seed: int = 0) -> pd.DataFrame:
    """Every type in every layer, but one feature alone of suppression in the first, and none of partition."""
    rng = np.random.default_rng(seed)
    types = ["local_context", "prediction", "suppression", "partition", "unclassified", "all"]
    found = []
    for hook in HOOKS:
        for name in types:
            if hook == HOOKS[0] and name == "partition":
                continue
            for state in ("active", "inactive"):
                for step in effect_summary.STEPS:
                    row: dict = {"sae": hook, "type": name, "state": state, "step": step}
                    row |= {"features": int(rng.integers(2, 120)), "stratum": int(rng.integers(2, 24576))}
                    for column in list(SUMMARY.columns)[6:]:
                        row[column] = rng.uniform(-1, 1)
                    if hook == HOOKS[0] and name == "suppression":
                        row |= {"features": 1, "difference_low": np.nan, "difference_high": np.nan}
                    found.append(row)
    return pd.DataFrame(found)[list(SUMMARY.columns)]


def sensitivity_frame() -> pd.DataFrame:
    """What moving a bound does to 1000 exponential values a layer, for a quantile and for numbers."""
    bounds = [
        (SCHEME, "prediction", "skewness", "above", "null0.999", (0.1, 1.0, 10.0)),
        (SCHEME, "prediction", "null quantiles", None, None, (0.1, 1.0, 10.0)),
        (SCHEME, "local_context", "implied_tokens", "max", "20", (0.25, 1.0, 4.0)),
        ("universal_neurons", "prediction", "kurtosis", "above", "10", (0.25, 1.0, 4.0)),
        ("universal_neurons", "partition", "variance_x_d_model", "above", "5.12", (0.25, 1.0, 4.0)),
        ("universal_neurons", "partition", "kurtosis", "below", "3", (0.25, 1.0, 4.0)),
    ]
    found = []
    for number, hook in enumerate(HOOKS):
        values = np.random.default_rng(number).exponential(8, 1000)
        for scheme, kind, column, word, bound, factors in bounds:
            at = {factor: _beyond(values, word, bound, factor) for factor in factors}
            for factor, members in at.items():
                both, either = (members & at[1.0]).sum(), (members | at[1.0]).sum()
                jaccard = both / either if either else np.nan
                row = (hook, scheme, kind, column, word, bound, factor, np.nan, np.nan, 0, members.sum())
                found.append((*row, 0.3 * factor, jaccard, np.nan))
    return pd.DataFrame(found, columns=list(SENSITIVITY.columns))


def _beyond(values: np.ndarray, word: str | None, bound: str | None, factor: float) -> np.ndarray:
    if bound is None or bound.startswith("null"):
        return values > np.quantile(values, 1 - 0.01 * factor)
    threshold = float(bound) * factor
    return values > threshold if word == "above" else values <= threshold


def agreement_frame(seed: int = 0) -> pd.DataFrame:
    """Two schemes compared, and two views under each scheme; nothing of local_context under the second."""
    rng = np.random.default_rng(seed)
    pairs = [("schemes", SCHEME, "universal_neurons", None)]
    pairs += [("views", "trained", "cosine", scheme) for scheme in (SCHEME, "universal_neurons")]
    found = []
    for hook in HOOKS:
        for compared, first, second, scheme in pairs:
            for kind in ("prediction", "suppression", "partition", "any", "local_context"):
                if kind == "local_context" and scheme == "universal_neurons":
                    continue
                jaccard = np.nan if hook == HOOKS[3] else rng.uniform()
                row = (hook, compared, first, second, scheme, kind, 9, 9, 3, jaccard, rng.uniform(-1, 1))
                found.append(row)
    return pd.DataFrame(found, columns=list(AGREEMENT.columns))
