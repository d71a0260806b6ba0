"""Features found again in another dictionary of the same place, and their types."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.types import counterparts
from fsrl.types.counterparts import Dictionary
from fsrl.weights import nearest

PLACE = "blocks.1.hook_resid_pre"


def of(name, W_dec, types, place=PLACE):
    return Dictionary("mini", name, place, torch.as_tensor(W_dec, dtype=torch.float32), np.asarray(types))


def rows(frame, sae, other):
    return frame[(frame["sae"] == sae) & (frame["other_sae"] == other)].set_index("type")


def test_by_hand():
    first = of("a", [[1, 0, 0], [0, 2, 0], [0, 0, 3]], ["prediction", "prediction", "unclassified"])
    # Found again: the first (cosine 1, no type there), the second (cosine .8, same type); not the third.
    other = of("b", [[5, 0, 0], [0.6, 0.8, 0]], ["unclassified", "prediction"])
    found = rows(counterparts.counterparts([first, other]), "a", "b")
    assert list(found.index) == ["prediction", "typed", "untyped"]
    said = found.loc["prediction", ["features", "counterparts", "alike", "alike_by_chance"]].tolist()
    assert said == [2, 2, 1, pytest.approx(2 * 1 / 2)]
    assert found.loc["prediction", "cosine"] == pytest.approx(0.9)
    assert found.loc["typed", "alike"] == 1
    assert found.loc["untyped", ["features", "counterparts", "alike"]].tolist() == [1, 0, 0]
    back = rows(counterparts.counterparts([first, other]), "b", "a")
    assert back.loc["prediction", ["features", "counterparts", "alike"]].tolist() == [1, 1, 1]
    assert back.loc["untyped", ["features", "counterparts", "alike"]].tolist() == [1, 1, 0]


def test_only_dictionaries_of_one_place_are_compared():
    one, other = np.eye(3, 4), np.eye(2, 4)
    there = of("b", other, ["prediction"] * 2, place="blocks.1.hook_mlp_out")
    found = counterparts.counterparts([of("a", one, ["prediction"] * 3), there])
    assert found.empty
    assert list(found.columns) == counterparts.COLUMNS


def test_a_zero_row_has_no_counterpart_and_is_none():
    one, other = torch.tensor([[0.0, 0], [1, 0]]), torch.tensor([[0.0, 0], [0.8, 0.6]])
    (index, cosine), (back, cosine_back) = counterparts.nearest(one, other)
    assert cosine.tolist() == cosine_back.tolist() == [-1, pytest.approx(0.8)]
    assert index[1] == back[1] == 1
    # All others lie on the other side, and the zero row beside it is still none.
    (_, cosine), _ = counterparts.nearest(one, -other)
    assert cosine[1] == -1


def test_types_of_other_features_are_refused():
    with pytest.raises(FsrlError, match="mini, a: 3 features but 2 types"):
        of("a", np.eye(3), ["prediction"] * 2)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_nearest_is_what_a_loop_finds_and_blocks_change_nothing(seed, at_once):
    rng = np.random.default_rng(seed)
    one, other = (rng.standard_normal((n, 6)).astype(np.float32) for n in (9, 7))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "ROWS", at_once)
        forth, back = counterparts.nearest(torch.from_numpy(one), torch.from_numpy(other))
    for (index, cosine), wide, others in ((forth, one, other), (back, other, one)):
        for i, row in enumerate(wide.astype(float)):
            exact = [row @ b / np.linalg.norm(row) / np.linalg.norm(b) for b in others.astype(float)]
            assert index[i] == int(np.argmax(exact))
            assert cosine[i] == pytest.approx(max(exact), abs=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_a_dictionary_in_another_order_is_found_whole(seed):
    rng = np.random.default_rng(seed)
    W_dec = rng.standard_normal((8, 16))
    types = rng.choice(["prediction", "suppression", "unclassified"], 8)
    order = rng.permutation(8)
    scaled = W_dec[order] * rng.uniform(0.1, 10, (8, 1))
    found = counterparts.counterparts([of("a", W_dec, types), of("b", scaled, types[order])])
    assert (found["features"] == found["counterparts"]).all()
    assert (found["features"] == found["alike"]).all()
