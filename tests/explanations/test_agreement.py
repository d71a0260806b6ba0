"""Agreement with published tokens and histograms: spellings, rounding, which processing fits."""

import html

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.explanations import agreement as explanation_agreement
from fsrl.tables import core as tables
from fsrl.tables.explanations import FITS, TOKEN_AGREEMENT
from fsrl.weights.matrices import Unembedding

D_MODEL, TOKENS = (
    8,
    tuple(f"\u0120w{number}" for number in range(300)) + ("\u010a", "<", "\u00e2\u0122\u0136"),
)
SAE = "blocks.0.hook_resid_pre"


def unembedding(seed: int = 0) -> Unembedding:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(D_MODEL, len(TOKENS), generator=generator) + 1.0
    folded = raw * (torch.rand(D_MODEL, 1, generator=generator) + 0.5)
    return Unembedding(folded, raw, TOKENS, None, None, {})


def decoder(seed: int = 1) -> torch.Tensor:
    return torch.randn(30, D_MODEL, generator=torch.Generator().manual_seed(seed))


def exported(weights: np.ndarray, tokens=TOKENS, decimals: int = 5, k: int = 10, bins: int = 50) -> dict:
    """A row of the export of features, for one feature's values, as SAEDashboard makes it."""
    order = np.argsort(weights)
    high, low = order[::-1][:k], order[:k]
    heights, edges = np.histogram(weights, bins=bins)
    return {
        "pos_str": [tokens[index].replace("\u0120", " ") for index in high],
        "pos_values": np.round(weights[high], decimals).tolist(),
        "neg_str": [tokens[index].replace("\u0120", " ") for index in low],
        "neg_values": np.round(weights[low], decimals).tolist(),
        "logits_hist_data_bar_heights": heights.astype(float).tolist(),
        "logits_hist_data_bar_values": np.round((edges[:-1] + edges[1:]) / 2, decimals).tolist(),
    }


def rows_of(matrix: torch.Tensor, centred: bool, features: list[int], **options) -> dict[int, dict]:
    logits = (decoder().double() @ matrix.double()).numpy()
    logits -= logits.mean(axis=1, keepdims=True) if centred else 0
    return {feature: exported(logits[feature], **options) for feature in features}


@pytest.mark.parametrize("decimals", [5, 3])
@pytest.mark.parametrize(("w_u", "centred"), explanation_agreement.PROCESSINGS)
def test_the_processing_that_was_exported_fits_and_no_other(
    w_u: str, centred: bool, decimals: int, tmp_path
) -> None:
    model = unembedding()
    rows = rows_of(getattr(model, w_u), centred, [0, 3, 29], decimals=decimals)
    frame = explanation_agreement.compare(rows, decoder(), model, sae=SAE)
    assert len(frame) == 3 * len(explanation_agreement.PROCESSINGS)
    own = frame[(frame["w_u"] == w_u) & (frame["centred"] == centred)]
    assert (own["top_overlap"] == 10).all() and (own["bottom_overlap"] == 10).all()
    assert (own["max_difference"] <= 0.5000001 * 10.0**-decimals).all() and (own["unknown"] == 0).all()
    assert own["scale"].to_numpy() == pytest.approx(1, abs=1e-3)
    assert (own["histogram_distance"] < 0.02).all()
    fits = explanation_agreement.fits(frame, sae=SAE, sampled=4, tolerance=0.02)
    assert list(fits.loc[fits["fits"], ["w_u", "centred"]].itertuples(index=False, name=None)) == [
        (w_u, centred)
    ]
    assert set(fits["sampled"]) == {4} and set(fits["features"]) == {3}
    tables.write(frame, tmp_path / "a.parquet", TOKEN_AGREEMENT, {})
    tables.write(fits, tmp_path / "f.parquet", FITS, {})


def test_values_of_another_model_fit_nothing() -> None:
    rows = rows_of(unembedding(seed=5).folded, True, list(range(10)))
    frame = explanation_agreement.compare(rows, decoder(), unembedding(), sae=SAE)
    fits = explanation_agreement.fits(frame, sae=SAE, sampled=10, tolerance=0.02)
    assert not fits["fits"].any() and fits["agreeing"].max() == 0
    assert (frame["top_overlap"] < 10).any() and fits["histogram_distance"].min() > 0.05


def test_a_decoder_of_another_length_shows_as_a_scale() -> None:
    rows = rows_of(2 * unembedding().raw, False, [1])
    frame = explanation_agreement.compare(rows, decoder(), unembedding(), sae=SAE)
    own = frame[(frame["w_u"] == "raw") & ~frame["centred"]]
    assert own["scale"].item() == pytest.approx(2, rel=1e-4) and own["top_overlap"].item() == 10
    assert not explanation_agreement.fits(frame, sae=SAE, sampled=1, tolerance=0.02)["fits"].any()


def test_where_nothing_is_folded_both_fit() -> None:
    raw = unembedding().raw
    model = Unembedding(raw, raw, TOKENS, None, None, {})
    frame = explanation_agreement.compare(rows_of(raw, True, [0, 1]), decoder(), model, sae=SAE)
    fits = explanation_agreement.fits(frame, sae=SAE, sampled=2, tolerance=0.02)
    assert fits.loc[fits["fits"], "w_u"].tolist() == ["folded", "raw"] and fits["fits"].sum() == 2


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        ("\u0120the", " the"),
        ("\u0120the", "&nbsp;the"),
        ("\u0120the", "\u0120the"),
        ("\u010a", "\n"),
        ("\u010a", "&bsol;n"),
        ("\u010a", "\u21b5"),
        ("\u0120the", "\u2581the"),
        ("<", "&lt;"),
        ("<script>", "<script>"),
        ("'s", "&apos;s"),
        ("\u00e2\u0122\u0136", "\u2014"),
        ("\u00e2\u0122\u0136", "&mdash;"),
        ("\u00e2\u0122\u0136", "\u00e2\u0122\u0136"),
        ("\u00c3", "\ufffd"),
    ],
)
def test_a_token_is_known_by_every_way_of_writing_it(stored: str, written: str) -> None:
    ids = explanation_agreement.spellings(["other", stored])
    assert ids[explanation_agreement.spelled(written)] == {1}


def test_one_id_answers_for_one_token() -> None:
    ids = explanation_agreement.spellings(["\u00c3", "\u00c2", "a"])
    assert explanation_agreement.overlap(["\ufffd", "\ufffd", "a", "b"], [0, 2], ids) == 2
    assert explanation_agreement.overlap(["\ufffd", "\ufffd"], [0, 1], ids) == 2


@given(st.integers(0, 2**32 - 1), st.integers(30, 300), st.floats(-2, 2))
def test_the_histogram_is_compared_over_the_whole_vocabulary(seed: int, n: int, shift: float) -> None:
    weights = np.random.default_rng(seed).normal(size=n)
    theirs = explanation_agreement.published(exported(weights, tokens=["t"] * n, decimals=9))
    assert explanation_agreement.histogram_distance(theirs, weights) < 1e-9
    assert explanation_agreement.histogram_distance(theirs, weights + 100) == pytest.approx(1)
    counted = sum(
        abs(share - np.mean((start <= weights + shift) & (weights + shift < start + theirs.width)))
        for share, start in zip(theirs.shares, theirs.start + theirs.width * np.arange(50), strict=True)
    )
    # By hand, without the half bins at the ends: they hold what else counts as outside.
    found = explanation_agreement.histogram_distance(theirs, weights + shift)
    inside = np.mean((weights + shift >= theirs.start) & (weights + shift < theirs.start + 50 * theirs.width))
    edges = theirs.start - theirs.width / 2, theirs.start + 50.5 * theirs.width
    ends = np.mean((weights + shift >= edges[0]) & (weights + shift <= edges[1])) - inside
    assert abs(found - (counted + 1 - inside) / 2) <= ends + 1e-9


@pytest.mark.parametrize(
    "change",
    [
        {"pos_str": None},
        {"pos_values": [1.0]},
        {"neg_values": [float("nan")] * 10},
        {"neg_values": ["1"] * 10},
        {"pos_str": [3] * 10},
        {"pos_str": [], "pos_values": []},
    ],
)
def test_a_row_without_values_is_left_out_and_the_verdict_says_of_how_many(change: dict) -> None:
    model = unembedding()
    rows = rows_of(model.folded, True, [0, 1])
    rows[1] |= change
    frame = explanation_agreement.compare(rows, decoder(), model, sae=SAE)
    assert set(frame["feature"]) == {0}
    nothing = explanation_agreement.compare({1: rows[1]}, decoder(), model, sae=SAE)
    fits = explanation_agreement.fits(nothing, sae=SAE, sampled=1, tolerance=0.02)
    assert set(fits["features"]) == {0} and not fits["fits"].any()


def test_a_row_without_a_histogram_keeps_its_tokens() -> None:
    model = unembedding()
    rows = rows_of(model.folded, True, [0])
    del rows[0]["logits_hist_data_bar_heights"]
    frame = explanation_agreement.compare(rows, decoder(), model, sae=SAE)
    assert frame["histogram_distance"].isna().all() and (frame["top_overlap"] > 0).any()


def test_rows_of_another_sae_are_refused() -> None:
    model = unembedding()
    rows = rows_of(model.folded, True, [0])
    with pytest.raises(FsrlError, match="of another SAE or model"):
        explanation_agreement.compare({30: rows[0]}, decoder(), model, sae=SAE)
    with pytest.raises(FsrlError, match="of another SAE or model"):
        explanation_agreement.compare(rows, torch.ones(30, D_MODEL + 1), model, sae=SAE)


def test_the_sample_is_seeded_without_repetition_and_all_where_there_are_few() -> None:
    chosen = explanation_agreement.sample(24576, 200, seed=0)
    assert chosen == explanation_agreement.sample(24576, 200, seed=0) == sorted(set(chosen))
    assert len(chosen) == 200 and chosen != explanation_agreement.sample(24576, 200, seed=1)
    assert explanation_agreement.sample(5, 200, seed=0) == [0, 1, 2, 3, 4]


def test_html_of_every_kind_is_undone() -> None:
    letters = "'\"<>()[]{}\\&"
    assert explanation_agreement.spelled(html.escape(letters)) == letters
