"""Which features a steering vector steers: the ranking against a brute-force one, the table, the figure."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fsrl.analyzer import steering as analyzer_steering
from fsrl.errors import FsrlError
from fsrl.explanations.local import LOCAL_MODEL
from fsrl.tokens.text import legible
from tests.fixtures import analyzer_examples as examples
from tests.fixtures import tiny_study as tiny

WIDTH = 6
# Quarters, so that sums are exact and equal strengths are equal.
VALUES = st.integers(-100, 100).map(lambda n: n / 4)
SHAPES = arrays.array_shapes(min_dims=0, max_dims=2, max_side=4).map(lambda shape: (*shape, WIDTH))


@pytest.fixture(scope="module")
def made(tiny_study):
    return examples.analyzer(tiny_study)


def brute_force(vector, threshold, top_k):
    """[(feature, mean, mean of |.|, value furthest from 0)] by sorting all features one by one."""
    flat = vector.reshape(-1, vector.shape[-1])
    found = []
    for feature in range(flat.shape[1]):
        column = [float(value) for value in flat[:, feature]]
        strength = sum(abs(value) for value in column) / len(column)
        if strength > 0 and strength >= (threshold or 0):
            peak = max(column, key=abs)
            found.append((feature, sum(column) / len(column), strength, peak))
    found.sort(key=lambda row: (-row[2], row[0]))
    return found if top_k is None else found[:top_k]


@given(
    arrays.arrays(np.float64, SHAPES, elements=VALUES),
    st.none() | st.sampled_from([0, 0.5, 12.5]),
    st.none() | st.integers(1, WIDTH + 2),
)
def test_the_ranking_is_that_of_sorting_all_features(vector, threshold, top_k):
    found = analyzer_steering.rank(vector, WIDTH, threshold=threshold, top_k=top_k)
    assert list(found.itertuples(index=False, name=None)) == brute_force(vector, threshold, top_k)


def test_a_worked_example():
    vector = torch.tensor([[3.0, -2.0, 0.0, 1.0], [-3.0, -2.0, 0.0, 0.0]])
    table = analyzer_steering.rank(vector, 4, threshold=None, top_k=None)
    assert table.to_dict("list") == {
        "feature": [0, 1, 3],
        "steering": [0.0, -2.0, 0.5],
        "strength": [3.0, 2.0, 0.5],
        "peak": [3.0, -2.0, 1.0],
    }


@pytest.mark.parametrize(
    ("vector", "settings", "said"),
    [
        (torch.ones(2, WIDTH + 1), {}, r"shape \[2, 7\], expected \[..., 6\]"),
        (torch.ones(0, WIDTH), {}, "shape"),
        (3.0, {}, "shape"),
        ("features", {}, "str is no vector"),
        (torch.tensor([0.0, 1, 2, torch.nan, 4, 5]), {}, r"nan at \[3\]"),
        (torch.ones(WIDTH), {"top_k": 0}, "top_k is 0"),
        (torch.ones(WIDTH), {"top_k": 2.5}, "top_k is 2.5"),
        (torch.ones(WIDTH), {"top_k": torch.tensor(2.5)}, "top_k is Tensor"),
        (torch.ones(WIDTH), {"top_k": np.array([1, 2])}, r"top_k is ndarray of shape \[2\]"),
        (torch.ones(WIDTH), {"top_k": True}, "top_k is True"),
        (torch.ones(WIDTH), {"threshold": True}, "threshold is True"),
        (torch.ones(WIDTH, dtype=torch.complex64), {}, "Tensor is no vector"),
        (torch.ones(WIDTH, device="meta"), {}, "Tensor is no vector"),
        (torch.ones(WIDTH), {"threshold": -1}, "threshold is -1"),
        (torch.ones(WIDTH), {"threshold": float("nan")}, "threshold is nan"),
    ],
)
def test_what_is_no_vector_or_bound_is_refused(vector, settings, said):
    with pytest.raises(FsrlError, match=said):
        analyzer_steering.rank(vector, WIDTH, **({"threshold": None, "top_k": None} | settings))


def test_the_table_joins_what_is_known_of_each_feature(made):
    vector = torch.zeros(2, 5, tiny.D_SAE)
    vector[..., 7], vector[..., 3] = -2.0, 1.0
    vector[0, 0, 20] = 0.5
    table = made.get_steered_features_info(vector, threshold=0.1)
    assert table["feature"].tolist() == [7, 3] and table["steering"].tolist() == [-2.0, 1.0]
    assert table["description"].tolist() == [made.feature_info[i]["description"] for i in (7, 3)]
    moments, types = made.logit_distr(), made.types().set_index("feature")
    for name in ("std", "skewness", "kurtosis", "norm", "log10_density"):
        assert table[name].tolist() == moments.loc[[7, 3], name].tolist()
    assert table["type"].tolist() == types.loc[[7, 3], "type"].tolist()
    W_U = examples.folded(made_study(made))
    logits = examples.rows(made_study(made))[7] @ (W_U - W_U.mean(1, keepdim=True))
    tokens = made.tables.weights.unembedding.tokens
    named = [legible(tokens[i]) for i in logits.argsort(descending=True)[:5]]
    assert table["top_tokens"].iloc[0].split(" ") == named
    assert table["bottom_tokens"].iloc[0].split(" ")[0] == legible(tokens[logits.argmin()])


def made_study(made):
    """The folder of the study that an analyzer's model came from."""
    from pathlib import Path

    return Path(made.sae_model.model.cfg.model_name).parent


def test_nothing_steered_is_an_empty_table_and_a_figure_that_says_so(made):
    vector = torch.zeros(tiny.D_SAE)
    assert made.get_steered_features_info(vector).empty
    figure = made.plot_steered_features(vector)
    assert "no feature is steered" in [text.get_text() for text in figure.axes[0].texts]


def test_without_descriptions_nobody_is_asked_for_any(made):
    table = made.get_steered_features_info(torch.ones(tiny.D_SAE), top_k=2, descriptions=False)
    assert table["description"].isna().all() and len(table) == 2
    figure = made.plot_steered_features(torch.ones(tiny.D_SAE), top_k=2, descriptions=False)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["0", "1"]


def test_the_figure_draws_any_text_as_text(tmp_path):
    texts = ["costs $\\frac{}$", "two\nlines\tand \udcff, \u4e2d \u202e", "x" * 300, None]
    ranked = pd.DataFrame({"feature": range(4), "steering": [2.0, -1, 0, 3], "strength": [2.0, 3, 1, 3]})
    ranked["description"] = pd.Series(texts, dtype=object)
    figure = analyzer_steering.figure(ranked, title="t")
    figure.savefig(tmp_path / "steered.png")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[0] == f"0  {texts[0]}" and labels[3] == "3"
    assert labels[1] == "1  two lines and \ufffd, \ufffd \ufffd"
    assert len(labels[2]) == len("2  ") + analyzer_steering.LONGEST_LABEL and labels[2].endswith("\u2026")
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == [2, -3, 1, 3, 2, -1, 0, 3]  # strength behind, on the side of the mean


def test_what_a_local_explanation_says_of_every_feature_is_left_out_of_labels(made):
    row = {"feature": 1, "description": "no token set is significantly promoted or suppressed; highest: a"}
    assert analyzer_steering.label(row) == "1  highest: a"
    assert made.feature_info[1]["explanationModelName"] == LOCAL_MODEL


def test_a_sparse_vector_and_numpy_s_numbers_are_taken_for_what_they_are():
    vector = torch.tensor([0.0, 1, -2, 0.25, 0, 0])
    expected = analyzer_steering.rank(vector, WIDTH, threshold=0.5, top_k=2)
    found = analyzer_steering.rank(
        vector.to_sparse(), WIDTH, threshold=np.float32(0.5), top_k=torch.tensor(2)
    )
    pd.testing.assert_frame_equal(found, expected)
    assert found["feature"].tolist() == [2, 1]
