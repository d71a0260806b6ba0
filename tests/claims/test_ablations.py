"""Ablations against typing anew, part by part and reading by reading; sums over layers by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from fsrl.claims import ablation_sums, ablations, planted
from fsrl.errors import FsrlError
from fsrl.names import BOUNDING, SHARED, TYPES
from fsrl.nulls import frames as nulls
from fsrl.nulls import quantiles
from fsrl.nulls.typical import typical as typical_of
from fsrl.tables import core as tables
from fsrl.tables.sensitivity import ABLATIONS
from fsrl.types import classify, tails
from fsrl.types.rules import parse_scheme
from fsrl.weights import matrices as weights
from fsrl.weights.matrices import Decoder, Unembedding
from tests.fixtures.type_examples import WHOLE, random_tables

SCHEME = parse_scheme("calibrated", WHOLE)
LABELS = [*TYPES, ablation_sums.TYPED, ablation_sums.EVIDENT]
OWN = BOUNDING[1]


def labelled(moments, null, rows=None):
    """Label -> which rows have it: the layer's own, or others by its bounds; one row at a time."""
    typing = classify.typing_of(SCHEME, moments, quantiles.of_draws(null))
    primary = (typing.own() if rows is None else typing.others(rows)).primary
    of_tails = tails.evidence(moments if rows is None else rows, typing.known)
    evidence = [max(values) for values in zip(*of_tails.values(), strict=True)]
    found = {name: [label == name for label in primary] for name in TYPES}
    found["typed"] = [label in TYPES for label in primary]
    found["evident"] = [bool(value > 1) for value in evidence]
    return {name: np.array(values) for name, values in found.items()}


def expected(moments, null, fresh, label):
    """By kind: what whole layers of fresh directions have of it; evidence is not counted."""
    found, n = [], len(moments)
    if label == "evident":
        return [np.nan, np.nan]
    for kind in BOUNDING:
        rows = fresh[fresh["kind"] == kind]
        rows = rows.iloc[: max(len(rows) // n, 1) * n]
        found.append(n * labelled(moments, null, rows)[label].mean())
    return found


def check(found, moments, null, fresh, other):
    """The rows of one case and part, in the order of the labels."""
    assert found["label"].tolist() == LABELS
    mine, theirs = labelled(moments, null), labelled(moments, other)
    for row in found.itertuples():
        assert row.features == mine[row.label].sum() and row.other == theirs[row.label].sum()
        assert row.both == (mine[row.label] & theirs[row.label]).sum()
        assert (row.draws_isotropic, row.draws_spectrum) == tuple((null["kind"] == k).sum() for k in BOUNDING)
        given = (row.expected_isotropic, row.expected_spectrum)
        assert given == pytest.approx(expected(moments, null, fresh, row.label), nan_ok=True)


def drawn(seed, n):
    parts = [
        random_tables(seed + i, n // 2, kind=kind)[1] for i, kind in enumerate((*BOUNDING, "second_moment"))
    ]
    return pd.concat(parts, ignore_index=True)


def test_each_part_of_the_draws_types_anew(tmp_path):
    moments, _ = random_tables(0, 150)
    null, fresh = drawn(10, 900), drawn(20, 600)
    # Isotropic directions are shared by layers and dealt by themselves.
    shared, own = (
        [one[(one["kind"] == SHARED) == of_all] for one in (null, fresh)] for of_all in (True, False)
    )
    deals = [ablations.deal(*one, [2, 3]) for one in (shared, own)]
    found = ablations.of_draws("layer", moments, deals, SCHEME)
    tables.write(found, tmp_path / "ablations.parquet", ABLATIONS, {})
    assert found["case"].unique().tolist() == [
        "as is",
        "2 parts",
        "3 parts",
        "isotropic alone",
        "spectrum alone",
    ]
    of_kinds = [one[one["kind"].isin(BOUNDING)] for one in (null, fresh)]
    check(found[found["case"] == "as is"], moments, *of_kinds, other=of_kinds[0])
    for number in (2, 3):
        hands = [[] for _ in range(number)]
        for kind in BOUNDING:
            cards = [row for one in (null, fresh) for _, row in one[one["kind"] == kind].iterrows()]
            for place, card in enumerate(cards):
                hands[place % number].append(card)
        dealt = [pd.DataFrame(hand).infer_objects() for hand in hands]
        assert sum(map(len, dealt)) == sum(map(len, of_kinds))
        for part, hand in enumerate(dealt):
            following = dealt[(part + 1) % number]
            rows = found[(found["case"] == f"{number} parts") & (found["part"] == part)]
            check(rows, moments, hand, following, other=following)
    assert found.loc[found["label"] == "typed", "features"].nunique() > 1


def by_one_kind(moments, null, kind, rows=None):
    """As `labelled`, bounded by one kind alone, whose tails stand in for the isotropic ones."""
    known, rows = quantiles.of_draws(null), moments if rows is None else rows
    own = {SHARED: known[kind]}
    least = tails.critical(tails.log10_p(moments, own), SCHEME.levels)
    p = tails.log10_p(rows, own)
    called = {tail: np.array([value <= one for value in p[tail]]) for tail, one in least.items()}
    # What is typical of a shape stays the isotropic directions'.
    primary = classify.tail_labels(classify.Shapes.of(rows, known), called, SCHEME).primary
    found = {name: primary == name for name in TYPES} | {"typed": np.isin(primary, TYPES)}
    of_tails = tails.evidence(rows, own)
    return found | {"evident": np.max(list(of_tails.values()), axis=0) > 1}


def wider(null, kind, factor):
    """With directions of one kind further out, by which the kinds differ."""
    shapes = ["skewness", "kurtosis", "right_kurtosis", "left_kurtosis", "right_eighth", "left_eighth"]
    scale = np.where(null["kind"] == kind, factor, 1.0)
    return null.assign(**{name: scale * null[name] for name in shapes})


def test_each_null_alone_types_anew():
    moments, _ = random_tables(0, 150)
    null, fresh = (wider(one, OWN, 1.3) for one in (drawn(10, 900), drawn(20, 600)))
    found = ablations.of_draws("layer", moments, [ablations.deal(null, fresh, [2])], SCHEME)
    whole = labelled(moments, null)
    counts = {}
    for kind in BOUNDING:
        rows = found[found["case"] == f"{kind} alone"].set_index("label")
        assert rows.index.tolist() == LABELS and (rows["ablation"] == "nulls").all()
        mine = by_one_kind(moments, null, kind)
        for label in LABELS:
            row = rows.loc[label]
            assert (row["features"], row["other"]) == (mine[label].sum(), whole[label].sum())
            assert row["both"] == (mine[label] & whole[label]).sum()
            assert row[f"draws_{kind}"] == (null["kind"] == kind).sum()
            assert row["draws_isotropic"] * row["draws_spectrum"] == 0
            for judge in BOUNDING:
                given = fresh[fresh["kind"] == judge]
                given = given.iloc[: len(given) // 150 * 150]
                share = by_one_kind(moments, null, kind, given)[label].mean()
                expected_here = np.nan if label == "evident" else 150 * share
                assert row[f"expected_{judge}"] == pytest.approx(expected_here, nan_ok=True)
        counts[kind] = rows.loc["typed", "features"]
    assert counts[SHARED] > counts[OWN] > 0


def test_one_null_has_no_other_to_do_without():
    moments, null = random_tables(0, 150)
    fresh = random_tables(1, 300)[1]
    found = ablations.of_draws("layer", moments, [ablations.deal(null, fresh, [2])], SCHEME)
    assert set(found["ablation"]) == {"draws"}


@pytest.mark.parametrize("parts", [[1], [4, 1]])
def test_one_part_is_no_deal(parts):
    null = random_tables(0, 50)[1]
    with pytest.raises(FsrlError, match="2 or more"):
        ablations.deal(null, null, parts)


def model(d_vocab=900, d_model=16):
    generator = torch.Generator().manual_seed(1)
    raw = torch.randn(d_model, d_vocab, generator=generator)
    raw[0] = raw[0].sign() * raw[0].abs() ** 1.8
    raw[:, :40] *= 3  # undertrained tokens that matter
    folded = raw * torch.linspace(0.4, 2, d_model)[:, None]
    trained = torch.arange(d_vocab) >= 40
    return Unembedding(folded, raw, tuple(map(str, range(d_vocab))), None, trained, {})


def decoder(seed, n=200, d_model=16):
    W_dec = torch.randn(n, d_model, generator=torch.Generator().manual_seed(seed))
    W_dec[:20] = 0.2 * W_dec[:20] + 3 * torch.nn.functional.one_hot(torch.arange(20) % d_model, d_model)
    return Decoder(W_dec, None, "blocks.0.hook_resid_pre", 0, f"sae {seed}", {})


VIEW = {"w_u": "folded", "tokens": "trained", "cosine": False}


def measured(one, unembedding, kinds, draws, again, **view):
    """Tables of a layer in one reading, each by itself: moments, null, fresh."""
    seen = weights.view(one, unembedding, **view)
    null = nulls.isotropic(seen.W_U, draws=draws, seed=5)
    typical, seed = typical_of(null), nulls.fresh_seed(5)
    directions = nulls.draw(SHARED, seen.W_dec, seen.W_U, draws=again, seed=seed)
    fresh = nulls.of_directions(SHARED, directions, seen.W_U, typical=typical)
    if kinds:
        own = {"kinds": kinds, "typical": typical}
        null = pd.concat([null, nulls.of_layer(seen.W_dec, seen.W_U, draws=draws, seed=5, **own)])
        fresh = pd.concat([fresh, nulls.of_layer(seen.W_dec, seen.W_U, draws=again, seed=seed, **own)])
    return planted.measure(seen.W_dec, seen.W_U, typical), null, fresh


@pytest.mark.parametrize("kinds", [[OWN], []])
def test_each_reading_types_anew(kinds):
    unembedding, decoders, draws = model(), [decoder(2), decoder(3)], 400
    # The study's tables hold more draws than the readings take.
    study = [measured(one, unembedding, kinds, 3 * draws, draws, **VIEW) for one in decoders]
    made = list(
        ablations.of_readings(
            iter(decoders), study, unembedding, VIEW, SCHEME, kinds=kinds, draws=draws, seed=5
        )
    )
    cases = ["folded, trained", "raw, trained", "raw, all"]
    for one, given, found in zip(decoders, study, made, strict=True):
        assert (found["sae"] == one.sae).all() and found["case"].unique().tolist() == cases
        first = None
        for case in cases:
            if first is None:
                null, fresh = (
                    pd.concat([part.iloc[:count] for _, part in table.groupby("kind", sort=False)])
                    for table, count in ((given[1], draws), (given[2], draws // 4))
                )
                moments = given[0]
            else:
                w_u, tokens = case.split(", ")
                moments, null, fresh = measured(
                    one, unembedding, kinds, draws, draws // 4, w_u=w_u, tokens=tokens
                )
            mine = labelled(moments, null)
            first = mine if first is None else first
            rows = found[found["case"] == case].set_index("label")
            for label in LABELS:
                row = rows.loc[label]
                assert (row["features"], row["other"]) == (mine[label].sum(), first[label].sum())
                assert row["both"] == (mine[label] & first[label]).sum()
                assert (row["draws_isotropic"], row["draws_spectrum"]) == (draws, draws * len(kinds))
                assert np.isnan(row["expected_spectrum"]) == (not kinds or label == "evident")
                if kinds:
                    by_kind = row[[f"expected_{kind}" for kind in BOUNDING]].tolist()
                    assert by_kind == pytest.approx(expected(moments, null, fresh, label), nan_ok=True)
    assert pd.concat(made).groupby("case")["features"].sum().nunique() > 1


def test_the_views_own_reading_comes_first():
    assert list(ablations.readings({"w_u": "raw", "tokens": "all", "cosine": True})) == [
        "raw, all",
        "folded, all",
        "folded, trained",
    ]
    assert all(view["cosine"] for view in ablations.readings({"cosine": True}).values())
    with pytest.raises(FsrlError, match="transport"):
        ablations.readings(VIEW | {"transport": "same_position"})


def test_sums_over_layers_by_hand():
    rows = [("a", "draws", "2 parts", part, 60, 20, "typed", 5 + part, 1.0, 2.0, 4, 3) for part in (0, 1)] + [
        ("b", "draws", "2 parts", part, 60, 20, "typed", 7, 3.0, np.nan, 2, 2) for part in (0, 1)
    ]
    rows.append(("a", "draws", "2 parts", 0, 60, 20, "partition", 0, 0.0, 0.0, 0, 0))
    found = ablation_sums.over_layers(pd.DataFrame(rows, columns=list(ABLATIONS.columns)))
    typed = found[found["label"] == "typed"].set_index("part")
    assert typed["features"].tolist() == [12, 13] and typed["expected"].tolist() == [4.0, 4.0]
    assert typed["jaccard"].tolist() == pytest.approx([5 / (12 + 6 - 5), 5 / (13 + 6 - 5)])
    assert typed["draws_isotropic"].tolist() == [60, 60]
    assert np.isnan(found.loc[found["label"] == "partition", "jaccard"].item())
