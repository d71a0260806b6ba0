"""All views of a layer at once: each gets what it would get alone, and as many tables as there are."""

import numpy as np
import pandas as pd

from fsrl.nulls import quantiles
from fsrl.types import chance, classify, layer, tails
from fsrl.types.rules import parse_schemes
from tests.fixtures.type_examples import NULL, SCHEMES, random_tables


def seen(seed):
    moments, null = random_tables(seed)
    return layer.Seen(moments, quantiles.bounds(quantiles.quantile_frame(NULL)), null)


def test_each_view_is_typed_as_by_hand_and_a_scheme_reads_its_own_view():
    views = {"trained": seen(1), "cosine": seen(2)}
    clusters = np.arange(len(views["trained"].moments))
    found = dict(layer.of_views(parse_schemes(SCHEMES), views, clusters, d_model=8, seed=0))
    assert list(found) == list(views)
    for view, here in views.items():
        expected = {name: [] for name in ("types", "type_counts", "type_null_counts", "thresholds")}
        for scheme in parse_schemes(SCHEMES):
            read = views[scheme.view or view]
            typing = classify.typing_of(scheme, read.moments, here.known, d_model=8)
            by_chance = chance.chance(typing, read.fresh)
            expected["types"].append(classify.types(typing))
            expected["type_counts"].append(chance.type_counts(typing, by_chance, clusters, seed=0))
            expected["type_null_counts"].append(chance.type_null_counts(typing, by_chance))
            expected["thresholds"].append(typing.thresholds())
        for name, parts in expected.items():
            pd.testing.assert_frame_equal(found[view][name], pd.concat(parts, ignore_index=True))
        pd.testing.assert_frame_equal(found[view]["tails"], tails.tails_frame(here.moments, here.known))
        calibration = tails.calibration(here.fresh, tails.bounding(here.known))
        pd.testing.assert_frame_equal(found[view]["tail_calibration"], calibration)
    assert not found["trained"]["types"].equals(found["cosine"]["types"])
