"""What README and docs say of types, nulls, sets and choices is what the tables of the built studies say."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fsrl import weights
from fsrl.names import BOUNDING, TYPES
from fsrl.tokens import text as token_text

ROOT = Path(__file__).parents[2]
README, FINDINGS = "README.md", "docs/explanation/findings.md"
WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
HOOKS = [f"blocks.{n}.hook_resid_pre" for n in range(6)] + ["blocks.5.hook_resid_post"]


def text(name: str) -> str:
    """A page in one line."""
    return " ".join((ROOT / name).read_text().split())


def typed(rows: pd.DataFrame) -> list[int]:
    """Features with a type, layer by layer, of a table of results/{study}/summary."""
    return rows[[name for name in TYPES if name in rows]].sum(axis=1).tolist()


@pytest.fixture(scope="module")
def results(built_mini: Path) -> Path:
    return built_mini / "results"


@pytest.fixture(scope="module")
def summary(results: Path) -> pd.DataFrame:
    found = pd.read_csv(results / "mini/summary/trained.tsv", sep="\t")
    assert found["sae"].tolist() == HOOKS
    return found


@pytest.fixture(scope="module")
def dictionaries(results: Path) -> pd.DataFrame:
    """By study, sae and type."""
    found = pd.read_csv(results / "models/mini-model/dictionaries.tsv", sep="\t")
    return found.set_index(["study", "sae", "type"])


def chance(results: Path, study: str, saes: list[str], types: list[str]) -> float:
    """What the one null gives that gives more, summed over layers and types."""
    layers = [pd.read_parquet(results / study / sae / "trained/type_null_counts.parquet") for sae in saes]
    rows = pd.concat(layers)
    rows = rows[(rows["scheme"] == "calibrated") & rows["type"].isin(types)]
    return max(rows.loc[rows["kind"] == kind, "expected_at_bounds"].sum() for kind in BOUNDING)


@pytest.mark.slow
def test_types_by_layer(results: Path, summary: pd.DataFrame) -> None:
    counts, sizes = typed(summary), summary["features"].tolist()
    given = chance(results, "mini", HOOKS[:1], list(TYPES))
    early = f"{WORDS[sum(counts[1:4])]} of {sum(sizes[1:4]):,}"
    told = f"At hook 0, {counts[0]} of {sizes[0]:,} features have a type, where chance gives {given:.1f}; "
    assert told + f"at hooks 1 to 3, {early} have one." in text(README)
    findings = text(FINDINGS)
    assert f"{early} features have a type" in findings
    assert "at hook 0 two thirds of the features stand out" in findings
    assert counts[0] / sizes[0] == pytest.approx(2 / 3, abs=0.02)
    assert "after the last block every fifth feature has a type" in findings
    assert round(sizes[-1] / counts[-1]) == 5
    suppress, split = (WORDS[int(summary[name].sum())] for name in ("suppression", "partition"))
    told = (
        f"{suppress.capitalize()} features of {sum(sizes):,} only suppress, and {split} split the vocabulary"
    )
    assert told in findings
    lows = [summary.loc[summary[name] > 0, f"{name}_low"].min() for name in ("suppression", "partition")]
    assert f"intervals of these counts reach down to {lows[0]:.0f} and {lows[1]:.0f}" in findings


@pytest.mark.slow
def test_what_splits_the_vocabulary(results: Path) -> None:
    types = pd.read_parquet(results / f"mini/{HOOKS[-1]}/trained/types.parquet")
    split = types.loc[(types["scheme"] == "calibrated") & (types["type"] == "partition"), "feature"]
    unembedding = weights.read_unembedding(results / "models/mini-model/unembedding.safetensors")
    view = weights.view(
        weights.read_decoder(results / f"mini/{HOOKS[-1]}/decoder.safetensors"), unembedding, tokens="trained"
    )
    spaced = [token_text.decode(unembedding.tokens[token]).startswith(" ") for token in view.token_ids]
    rows = view.W_dec.double()[split.to_numpy()] @ view.W_U.double()
    explained = sorted(float(np.corrcoef(row, spaced)[0, 1]) ** 2 for row in rows)
    told = f"explains {100 * explained[1]:.0f} to {100 * explained[-1]:.0f} % of the variance of their logit"
    assert f"{WORDS[len(split) - 1]} of them by the leading space, which {told} weights" in text(FINDINGS)
    assert explained[0] < 0.1


@pytest.mark.slow
def test_predictions_that_may_be_chance(results: Path, summary: pd.DataFrame) -> None:
    share = chance(results, "mini", HOOKS[:1], ["prediction"]) / summary["prediction"][0]
    assert "at hook 0 a fifth of the predictions may be chance" in text("docs/explanation/nulls.md")
    assert share == pytest.approx(1 / 5, abs=0.02)


@pytest.mark.slow
def test_neurons(results: Path, dictionaries: pd.DataFrame) -> None:
    neurons = dictionaries.loc["mini-neurons"]
    layers = list(dict.fromkeys(sae for sae, _ in neurons.index if sae != "all"))
    sizes = [int(neurons.loc[(sae, "typed"), "size"]) for sae in layers]
    whole = neurons.loc[("all", "typed")]
    given = chance(results, "mini-neurons", layers, list(TYPES))
    assert whole["expected"] == pytest.approx(given, rel=1e-5)
    few = f"few types, {whole['features']:.0f} of {whole['size']:,.0f}"
    assert f"The model's own neurons get {few}, but other ones" in text(README)
    findings = text(FINDINGS)
    assert f"(`mini-neurons`, {len(layers)} x {sizes[0]}) get {few} ({given:.1f} by chance)" in findings
    assert len(set(sizes)) == 1
    split, suppress = (neurons.loc[(layers[-1], name)] for name in ("partition", "suppression"))
    counts = [f"{row['features']:.0f}" for row in (split, suppress)]
    told = f"in the last layer {counts[0]} split the vocabulary and {counts[1]} suppress"
    by_chance = {f"{row['expected']:.1f}" for row in (split, suppress)}
    assert len(by_chance) == 1
    assert f"{told} ({by_chance.pop()} by chance of each" in findings


@pytest.mark.slow
def test_types_of_transported_weights(results: Path, summary: pd.DataFrame) -> None:
    direct, there = typed(summary), []
    for hook in HOOKS:
        counts = pd.read_parquet(results / f"mini/{hook}/transported/type_counts.parquet")
        counts = counts[(counts["scheme"] == "calibrated") & counts["type"].isin(TYPES)]
        there.append(int(counts["features"].sum()))
    assert direct[3] == 0
    told = f"{there[0]} instead of {direct[0]} have a type at hook 0, {there[3]} instead of none at hook 3"
    assert told in text(FINDINGS)


@pytest.mark.slow
def test_another_seed(results: Path) -> None:
    rows = pd.read_csv(results / "models/mini-model/counterparts.tsv", sep="\t")
    rows = rows[rows["type"] == "typed"]
    other = "blocks.5.hook_resid_pre_seed_1"
    mine = rows[(rows["study"] == "mini") & (rows["other_sae"] == other)].iloc[0]
    theirs = rows[(rows["study"] == "mini-runs") & (rows["sae"] == other)].iloc[0]
    told = f"another seed gives {theirs['features']} where the first has {mine['features']}, and"
    assert f"{told} {mine['counterparts']} of these have a counterpart there" in text(README)


@pytest.mark.slow
def test_sets_of_tokens(results: Path, summary: pd.DataFrame) -> None:
    covered = pd.read_parquet(results / "mini/set_coverage/trained.parquet")
    of_any = covered[covered["set"].isna()]
    significant = int(of_any["features"].sum())
    having = int(of_any.loc[of_any["type"].isin(TYPES), "features"].sum())
    shares = dict(zip(summary["sae"], np.array(typed(summary)) / summary["features"], strict=True))
    base = sum(of_any.groupby("sae")["features"].sum() * pd.Series(shares))
    told = f"Of the {significant} features that significantly promote or suppress a set"
    would = f"{having} have a type, where {base:.0f} would if each were any feature of its hook"
    assert f"{told}, {would}." in text(README)
    of_typed = 100 * having / sum(typed(summary))
    findings = f"{told} {would}; of the features with a type {of_typed:.1f} % have such a set"
    assert findings in text(FINDINGS)
    nothing = pd.read_parquet(results / "mini/null_p_values/trained.parquet")
    p = nothing.loc[nothing["kind"] == "turned", "log10_p_z"].dropna()
    assert "calls more than half of all tests significant" in text("docs/explanation/token-sets.md")
    assert (p < math.log10(0.05)).mean() > 0.5


@pytest.mark.slow
def test_other_choices(results: Path) -> None:
    table = pd.read_parquet(results / "mini/ablations.parquet")
    table = table[table["label"] == "typed"]
    sums = table.groupby(["case", "part"])[["features", "other", "both"]].sum()
    overlap = sums["both"] / (sums["features"] + sums["other"] - sums["both"])
    parts = sums.loc["8 parts", "features"]
    findings = text(FINDINGS)
    assert f"dealt into {WORDS[len(parts)]} parts" in findings
    told = f"the null directions give {parts.min():,} to {parts.max():,} features a type"
    alike = f"overlap by {overlap['8 parts'].mean():.2f} (Jaccard index)"
    assert f"{told}, and the typed features of two parts {alike}" in findings
    base, raw, everything = ("folded, trained", 0), ("raw, trained", 0), ("raw, all", 0)
    counts = {case: f"{sums.loc[case, 'features']:,}" for case in (base, raw, everything)}
    # The overlaps are with the features that have a type in the first of them.
    assert sums.loc[[raw, everything], "other"].tolist() == 2 * [sums.loc[base, "features"]]
    readings = table[table["case"].isin(["folded, trained", "raw, trained", "raw, all"])]
    (draws,) = set(readings["draws_isotropic"]) | set(readings["draws_spectrum"])
    told = f"Bounded by {draws:,} directions of each kind, {counts[base]} have a type; with `W_U` as stored"
    alike = f"{counts[raw]} (overlap with these {overlap[raw]:.2f})"
    assert f"{told}, the final norm's weight not folded in, {alike}; and with that `W_U`" in findings
    alike = f"{counts[everything]} ({overlap[everything]:.2f})"
    main = sum(typed(pd.read_csv(results / "mini/summary/main.tsv", sep="\t")))
    told = f"over all tokens, undertrained ones among them, {alike}. Folded, over all tokens (view `main`"
    assert f"{told}, its own draws), it is {main:.0f}." in findings
