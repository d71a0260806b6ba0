"""The project's own predictions: each holds in a store that was planted so, and fails in one that was not.

Sizes are GPT-2's, since the predictions name rows and counts of it; the columns are made up.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import yaml

from fsrl.errors import FsrlError
from fsrl.predictions.conditions import Layer
from fsrl.predictions.registered import Prediction, parse
from tests.fixtures.project import ROOT
from workflow import registered, settings, studies

FILE = "config/predictions.yaml"
CONTENT = settings.predictions(str(ROOT / FILE), ROOT / "workflow/schemas/predictions.schema.yaml")
OWN = {name: parse(name, entry) for name, entry in CONTENT["predictions"].items()}
STREAM, NEURONS, SPLIT, POST = (
    "gpt2-small",
    "gpt2-small-neurons",
    "gpt2-small-splitting",
    "gpt2-small-resid-post-32k",
)
ENTROPY = [584, 2378, 2870, 2123, 1611, 2910]
# Typed features of hooks 0 to 12, as a share; of neurons' layers 0 to 11.
TYPED = [0.3, 0.0, 0.0, 0.01, 0.02, 0.01, 0.03, 0.05, 0.04, 0.08, 0.12, 0.15, 0.2]


@dataclass(frozen=True, eq=False)
class Store:
    """Made-up tables: a layer's moments and labels by study, view and its number among the study's SAEs."""

    layers: Callable[[str, str, int], tuple[pd.DataFrame, np.ndarray]]

    def judge(self, prediction: Prediction, order: list[str]) -> bool:
        """Whether it holds; order: the study's SAEs."""
        layers = []
        for sae in prediction.test.saes:
            moments, labels = self.layers(prediction.study, prediction.view, order.index(sae))
            types = [
                pd.DataFrame({"feature": moments["feature"], "scheme": scheme, "type": labels})
                for scheme in ("calibrated", "universal_neurons")
            ]
            layers.append(Layer(sae, moments, pd.concat(types)))
        return prediction.test.judge(layers).held


def frame(rng: np.random.Generator, n: int, skewness: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows like those of directions without meaning, but for their mean skewness."""
    columns = {
        "std": rng.uniform(0.1, 0.2, n),
        "skewness": rng.normal(skewness, 0.18, n),
        "kurtosis": rng.uniform(2.9, 3.5, n),
        "norm": rng.uniform(2.0, 4.0, n),
        "log10_density": rng.uniform(-4, -2, n),
        "mean": 0.0,
    }
    return pd.DataFrame({"feature": np.arange(n)} | columns), np.full(n, "unclassified", dtype=object)


def planted(study: str, view: str, number: int) -> tuple[pd.DataFrame, np.ndarray]:
    """A layer in which what is predicted of it holds."""
    rng = np.random.default_rng(number)
    if study == STREAM:
        moments, labels = frame(rng, 24576, 0.2)
        moments["norm"] = 1.0
        moments.loc[5000:5010, "skewness"] = 3.0
        typed = int(TYPED[number] * len(labels))
        labels[:typed] = "prediction"
        labels[: int((0.9 if number == 0 else 0.5) * typed)] = "local_context"
        if number == 8:
            for one in OWN.values():
                if one.kind == "value":
                    for column, (value, _) in one.test.values.items():
                        moments.loc[one.test.feature, column] = value
            labels[24575] = "partition"
    elif study == NEURONS:
        moments, labels = frame(rng, 3072, 0.0)
        beyond = 3 * number
        moments.loc[:beyond, "kurtosis"] = 20.0
        moments.loc[:beyond, "skewness"] = np.where(np.arange(beyond + 1) < 0.6 * beyond, -4.0, 4.0)
        labels[: beyond + 1] = "prediction"
        moments.loc[100:104, "kurtosis"] = 2.0
        labels[100:105] = "partition"
        if number == 11:
            moments.loc[ENTROPY, ["std", "norm"]] = 0.02, 9.0
    else:
        moments, labels = frame(rng, 1000, 0.0)
        labels[: 10 * (number + 1)] = "local_context"
    return moments, labels


def shuffled(study: str, view: str, number: int) -> tuple[pd.DataFrame, np.ndarray]:
    """The planted layer with its rows in another order."""
    moments, labels = planted(study, view, number)
    order = np.random.default_rng(99).permutation(len(moments))
    return moments.iloc[order].assign(feature=np.arange(len(moments))), labels[order]


def turned(study: str, view: str, number: int) -> tuple[pd.DataFrame, np.ndarray]:
    """The planted layers in the reverse order, hook 0 and the last exchanged."""
    last = {STREAM: 12, SPLIT: 7}.get(study, 11)
    return planted(study, view, last - number)


def chance(study: str, view: str, number: int) -> tuple[pd.DataFrame, np.ndarray]:
    """A layer of directions without meaning: nothing stands out, nothing is typed."""
    return frame(np.random.default_rng(number), 3072, 0.0)


def flooded(study: str, view: str, number: int) -> tuple[pd.DataFrame, np.ndarray]:
    """A layer with every row typed, one as often as the other, and skewed either way."""
    moments, labels = frame(np.random.default_rng(number), 3072, 0.0)
    kinds = ["local_context", "prediction", "suppression", "partition"]
    moments["skewness"] = np.where(np.arange(len(labels)) % 3, 3.0, -3.0)
    moments["kurtosis"] = 11.0
    return moments, np.resize(np.array(kinds, dtype=object), len(labels))


# What breaks each kind: names of rows, order of layers; counts and shares by what there is to count.
BROKEN = {
    "value": [shuffled],
    "label": [shuffled],
    "quantile": [shuffled],
    "trend": [turned],
    "count": [chance, flooded],
    "share": [chance, flooded],
}


@pytest.fixture(scope="module")
def orders() -> dict[str, list[str]]:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    return {study: studies.resolve(study, config).sae_ids for study in (STREAM, NEURONS, SPLIT, POST)}


@pytest.mark.parametrize("name", OWN)
def test_it_holds_where_it_was_planted_and_fails_where_it_was_not(
    name: str, orders: dict[str, list[str]]
) -> None:
    one = OWN[name]
    assert Store(planted).judge(one, orders[one.study])
    held = [Store(broken).judge(one, orders[one.study]) for broken in BROKEN[one.kind]]
    assert not all(held), "nothing that was tried makes it fail"


def test_bounds_on_one_side_are_broken_from_that_side(orders: dict[str, list[str]]) -> None:
    """Chance alone breaks what asks for something, a flood alone what asks for little."""
    for name, one in OWN.items():
        if one.kind in ("count", "share"):
            low, high = one.test.within.low, one.test.within.high
            assert low is None or not Store(chance).judge(one, orders[one.study]), name
            assert high is None or not Store(flooded).judge(one, orders[one.study]), name


def test_the_file_is_sound_and_names_what_the_config_has() -> None:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    assert config["predictions"] == FILE and CONTENT["registered"] == "2026-11-29"
    found = registered.read(CONTENT["predictions"], config, lambda name: studies.resolve(name, config))
    assert [one.name for one in found] == list(OWN)
    assert {one.kind for one in found} == set(BROKEN)
    # The embedded study has been seen.
    assert {one.study for one in found} == {STREAM, NEURONS, SPLIT, POST}


def test_published_rows_are_those_that_were_printed() -> None:
    rows = {one.test.feature: one.test.values for one in OWN.values() if one.kind == "value"}
    assert sorted(rows) == [0, 1, 2, 3, 4, 24571, 24572, 24573, 24574, 24575]
    last = {column: value for column, (value, _) in rows[24575].items()}
    assert last == {
        "std": 0.256168,
        "skewness": 0.357178,
        "kurtosis": 2.617406,
        "log10_density": -2.580951,
    }


def test_a_factor_of_three_about_the_published_counts() -> None:
    counts = {
        "neurons_beyond_kurtosis_10": 213,
        "neurons_beyond_kurtosis_10_to_the_right": 89,
        "neurons_beyond_kurtosis_10_to_the_left": 124,
    }
    for name, count in counts.items():
        within = OWN[name].test.within
        assert abs(within.low - count / 3) < 1 and within.high == 3 * count


def test_the_thresholds_of_trends_are_as_rare_by_chance_as_they_say() -> None:
    rng = np.random.default_rng(0)
    for layers, share, text in ((12, 0.02, "2 cases of 100"), (8, 0.06, "6 cases of 100")):
        ranks = np.array([rng.permutation(layers) for _ in range(20000)])
        rho = [np.corrcoef(one, np.arange(layers))[0, 1] for one in ranks]
        assert np.mean(np.array(rho) >= 0.6) == pytest.approx(share, abs=0.006)
        said = [one for one in OWN.values() if text in one.reason]
        assert said and all(len(one.test.saes) == layers and one.test.rho == 0.6 for one in said)


def test_another_name_than_the_study_has_is_named() -> None:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    entry = CONTENT["predictions"]["layer_8_row_0"]
    for change, said in (
        ({"study": "gpt2-smal"}, "no study 'gpt2-smal'; did you mean 'gpt2-small'"),
        ({"view": "raw"}, "no view 'raw' (known: main, trained, cosine)"),
        ({"sae": "blocks.12.hook_resid_pre"}, "no SAE 'blocks.12.hook_resid_pre'; did you mean"),
    ):
        with pytest.raises(FsrlError) as caught:
            registered.read({"ours": entry | change}, config, lambda name: studies.resolve(name, config))
        assert str(caught.value).startswith("predictions.ours") and said in str(caught.value)
