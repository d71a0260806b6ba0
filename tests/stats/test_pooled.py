"""One effect over several studies, against the worked example and a simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsrl.stats.pooled import pooled

NUMBERS = st.lists(st.tuples(st.floats(-3, 3), st.floats(0.1, 2)), min_size=1, max_size=8)


def test_worked_example():
    found = pooled(np.array([0.0, 2.0]), np.array([1.0, 1.0]))
    assert found == pytest.approx((1.0, 1 - 1.959964, 1 + 1.959964), abs=1e-6)


def test_effects_that_agree_are_weighted_by_their_errors_alone():
    found = pooled(np.array([0.0, 0.3]), np.array([1.0, 0.5]))  # Q = .09 / 1.25 < 1
    assert found.effect == pytest.approx((0.0 + 4 * 0.3) / 5)
    assert found.high - found.effect == pytest.approx(1.959964 / np.sqrt(5), abs=1e-6)


@given(NUMBERS)
def test_order_and_missing_studies_do_not_matter(pairs):
    effects, errors = np.array(pairs).T
    found = pooled(effects, errors)
    again = pooled(np.append(effects[::-1], [np.nan, 1.0]), np.append(errors[::-1], [1.0, np.nan]))
    assert again == pytest.approx(found)
    assert effects.min() - 1e-9 <= found.effect <= effects.max() + 1e-9
    shifted = pooled(effects + 1, errors)
    assert shifted == pytest.approx(tuple(end + 1 for end in found), abs=1e-9)


def test_nothing_is_known_of_no_study():
    assert np.isnan(pooled(np.array([np.nan]), np.array([1.0]))).all()


def test_the_interval_covers_what_it_should():
    generator = np.random.default_rng(0)
    errors = generator.uniform(0.5, 2, 12)
    inside = 0
    for _ in range(500):
        truths = 1 + generator.normal(0, 0.7, 12)
        found = pooled(generator.normal(truths, errors), errors)
        inside += found.low <= 1 <= found.high
    assert 0.88 <= inside / 500 <= 0.98
