"""The tables of the tiny study against the same quantities computed naively from its weight files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file
from scipy import stats

from fsrl.names import TAILS
from fsrl.tables import core as tables
from fsrl.tables.moments import EXTREMES, HISTOGRAMS, MOMENTS, NULL
from fsrl.tables.tokens import TOKENS
from fsrl.tables.types import TAIL_TABLE, TYPE_COUNTS, TYPES
from tests.fixtures.project import ROOT, Project
from tests.fixtures.tiny_study import D_SAE, MIN_COUNT, SAE_IDS

VIEWS = ("main", "trained", "cosine")
TABLES = {
    table.name: table for table in (EXTREMES, HISTOGRAMS, MOMENTS, NULL, TAIL_TABLE, TYPES, TYPE_COUNTS)
}
layers = pytest.mark.parametrize(("sae", "view"), [(sae, view) for sae in SAE_IDS for view in VIEWS])


def naive_view(study: Path, sae: str, view: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W_dec [d_sae, d_model], W_U [d_model, n_tokens] in float64; the vocabulary row of each column."""
    model = load_file(study / "model/model.safetensors")
    embedding = model["transformer.wte.weight"].astype(np.float64)
    W_U = (embedding * model["transformer.ln_f.weight"]).T
    W_U = W_U - W_U.mean(axis=0)
    W_dec = load_file(study / "saes" / sae / "sae_weights.safetensors")["W_dec"].astype(np.float64)
    ids = np.arange(W_U.shape[1])
    if view == "trained":
        ids = np.flatnonzero(load_file(study / "token_counts.safetensors")["count"] >= MIN_COUNT)
    if view == "cosine":
        W_U = W_U - W_U.mean(axis=1, keepdims=True)
        W_U = W_U / np.linalg.norm(W_U, axis=0)
        W_dec = W_dec / np.maximum(np.linalg.norm(W_dec, axis=1, keepdims=True), 1e-300)
    return W_dec, W_U[:, ids], ids


def naive_logits(study: Path, sae: str, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Logit weights [d_sae, n_tokens] of a view, and the vocabulary's row of each column."""
    W_dec, W_U, ids = naive_view(study, sae, view)
    return W_dec @ W_U, ids


def vocabulary(study: Path) -> list[str]:
    ids = json.loads((study / "model/tokenizer.json").read_text())["model"]["vocab"]
    return sorted(ids, key=ids.__getitem__)


def table(project: Project, sae: str, view: str, name: str) -> pd.DataFrame:
    path = project.folder / f"results/tiny/{sae}/{view}/{name}.parquet"
    return tables.read(path, TABLES[name])


@layers
def test_moments(built: Project, tiny_study: Path, sae: str, view: str) -> None:
    logits, _ = naive_logits(tiny_study, sae, view)
    found = table(built, sae, view, "moments").set_index("feature")
    shaped = logits[:-1]  # the last direction is zero and has no shape
    np.testing.assert_allclose(found["std"], logits.std(axis=1), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["mean"], logits.mean(axis=1), atol=1e-5 * logits.std())
    np.testing.assert_allclose(found["skewness"][:-1], stats.skew(shaped, axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        found["kurtosis"][:-1], stats.kurtosis(shaped, axis=1, fisher=False), rtol=1e-4
    )
    assert found.loc[D_SAE - 1, ["skewness", "kurtosis", "bimodality"]].isna().all()


@layers
def test_extremes(built: Project, tiny_study: Path, sae: str, view: str) -> None:
    logits, ids = naive_logits(tiny_study, sae, view)
    tokens = vocabulary(tiny_study)
    found = table(built, sae, view, "extremes")
    for side, sign in (("top", -1), ("bottom", 1)):
        order = np.argsort(sign * logits[:-1], axis=1, kind="stable")[:, :10]
        rows = found[(found["side"] == side) & (found["feature"] < D_SAE - 1)]
        assert rows["token_id"].tolist() == ids[order].ravel().tolist()
        assert rows["token"].tolist() == [tokens[i] for i in ids[order].ravel()]
        expected = np.take_along_axis(logits[:-1], order, axis=1).ravel()
        np.testing.assert_allclose(rows["weight"], expected, rtol=1e-4, atol=1e-5)


@layers
def test_histograms_hold_every_token(built: Project, tiny_study: Path, sae: str, view: str) -> None:
    logits, ids = naive_logits(tiny_study, sae, view)
    found = table(built, sae, view, "histograms")
    counts = np.stack(found["counts"])
    totals = counts.sum(axis=1) + found["underflow"] + found["overflow"]
    assert (totals == len(ids)).all()
    z = (logits[:-1] - logits[:-1].mean(axis=1, keepdims=True)) / logits[:-1].std(axis=1, keepdims=True)
    # Above the middle edge, and above mean + 4 std: cumulated counts tolerate a token that sits on an edge.
    for edge, z_edge in ((25, 0.0), (37, -8 + 37 * 0.32)):
        above = counts[:-1, edge:].sum(axis=1) + found["overflow"][:-1]
        assert np.abs(above - (z >= z_edge).sum(axis=1)).max() <= 1


@pytest.mark.parametrize("view", VIEWS)
def test_null_is_what_random_directions_give(built: Project, tiny_study: Path, view: str) -> None:
    null = tables.read(built.folder / f"results/models/tiny-model/nulls/{view}.parquet", NULL)
    assert len(null) == 2000
    np.testing.assert_allclose(null["norm"], 1, rtol=1e-6)
    _, W_U, _ = naive_view(tiny_study, SAE_IDS[0], view)
    directions = np.random.default_rng(1).standard_normal((2000, 16))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    mine = stats.kurtosis(directions @ W_U, axis=1, fisher=False)
    assert stats.ks_2samp(mine, null["kurtosis"]).pvalue > 1e-3
    assert stats.ks_2samp((directions @ W_U).std(axis=1), null["std"]).pvalue > 1e-3


@layers
def test_calibrated_types_are_what_lies_beyond_the_null(
    built: Project, tiny_study: Path, sae: str, view: str
) -> None:
    moments = table(built, sae, view, "moments")
    shaped = ~moments["skewness"].isna()
    tails = table(built, sae, view, "tails")
    null = tables.read(built.folder / f"results/models/tiny-model/nulls/{view}.parquet", NULL)
    settings = yaml.safe_load((ROOT / "config/config.yaml").read_text())["types"]["schemes"]["calibrated"]
    called = {}
    for tail in TAILS:
        p, q = tails[f"p_{tail}"], tails[f"q_{tail}"]
        assert q[shaped].to_numpy() == pytest.approx(stats.false_discovery_control(p[shaped], method="bh"))
        assert (p[shaped] >= tails.loc[shaped, f"p_{tail}_isotropic"]).all()
        level = settings["spike_level" if tail.endswith("eighth") else "level"]
        called[tail] = (q <= level).to_numpy()
    # A null direction is as likely as its negative. What is kept of the draws are some of their quantiles.
    both = np.concatenate([null["skewness"], -null["skewness"]])
    counted = np.array([(1 + (both >= x).sum()) / (1 + len(both)) for x in moments.loc[shaped, "skewness"]])
    known = tails.loc[shaped, "p_right_isotropic"].to_numpy()
    inside = counted > 20 / len(both)
    assert np.log10(known[inside]) == pytest.approx(np.log10(counted[inside]), abs=0.06)
    n_tokens = len(naive_view(tiny_study, sae, view)[2])
    groups, spikes = [], []
    for side, tokens in (("right", "tail_tokens"), ("left", "left_tail_tokens")):
        narrow = moments[tokens] <= settings["tail_share"] * n_tokens
        groups.append((called[side] | called[f"{side}_kurtosis"]) & narrow)
        spikes.append((groups[-1] | called[f"{side}_eighth"]) & (moments[tokens] <= settings["tail_tokens"]))
    both = (groups[0] | spikes[0]) & (groups[1] | spikes[1])
    members = {
        "partition": called["flat"],
        "two_sided": (called["heavy"] & moments["right_share"].between(0.25, 0.75)) | both,
        "local_context": spikes[0],
        "prediction": groups[0],
        "suppression": groups[1] | spikes[1],
    }
    found = table(built, sae, view, "types")
    found = found[found["scheme"] == "calibrated"].reset_index(drop=True)
    label = pd.Series("unclassified", index=moments.index)
    for name in reversed(members):
        assert found[name].tolist() == list(members[name])
        label[members[name]] = name
    label[~shaped] = "degenerate"
    assert found["type"].tolist() == label.tolist()
    counts = table(built, sae, view, "type_counts").set_index(["scheme", "type"]).loc["calibrated"]
    assert counts["features"].sum() == D_SAE
    assert counts["features"].to_dict() == {name: (label == name).sum() for name in counts.index}


def test_universal_neurons_reads_the_cosines(built: Project) -> None:
    by_view = [table(built, SAE_IDS[0], view, "types") for view in VIEWS]
    rows = [types[types["scheme"] == "universal_neurons"].reset_index(drop=True) for types in by_view]
    pd.testing.assert_frame_equal(rows[0], rows[2])
    pd.testing.assert_frame_equal(rows[1], rows[2])
    cosines = table(built, SAE_IDS[0], "cosine", "moments")
    expected = (cosines["std"] ** 2 * 16 > 5.12) & (cosines["kurtosis"] < 3)
    assert rows[0]["partition"].tolist() == expected.tolist()


def test_tokens(built: Project, tiny_study: Path) -> None:
    found = tables.read(built.folder / "results/models/tiny-model/tokens.parquet", TOKENS)
    counts = load_file(tiny_study / "token_counts.safetensors")["count"]
    assert found["token"].tolist() == vocabulary(tiny_study)
    assert found["count"].tolist() == counts.tolist()
    assert found["trained"].tolist() == (counts >= MIN_COUNT).tolist()
    texts = dict(zip(found["token"], found["text"], strict=True))
    assert texts["Ġthe"] == " the" and texts["Ã"] == "\N{REPLACEMENT CHARACTER}"


def test_unknown_density_is_not_called_dead(built: Project) -> None:
    known, unknown = (table(built, sae, "main", "moments") for sae in SAE_IDS)
    assert known["alive"].tolist() == np.greater_equal(np.linspace(-10, -1, D_SAE), -9).tolist()
    assert unknown["alive"].isna().all() and unknown["log10_density"].isna().all()


@layers
def test_every_table_says_what_it_was_made_from(built: Project, sae: str, view: str) -> None:
    for name in ("moments", "extremes", "histograms", "types", "type_counts"):
        metadata = tables.read_metadata(built.folder / f"results/tiny/{sae}/{view}/{name}.parquet")
        assert metadata["study"] == "tiny" and metadata["sae"] == sae
        assert json.loads(metadata["view"])["tokens"] == ("trained" if view == "trained" else "all")
        assert metadata["precision"] == "fp32"
