"""Which features, windows and positions are chosen."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsrl.effects import sample as effect_sample
from fsrl.effects.sample import SampleSize, choose_features, mean_activation, sites
from fsrl.errors import FsrlError
from fsrl.models.windows import FIRST_POSITION

LARGE = {
    "million_parameters": 5,
    "features_per_type": 1,
    "positions": 2,
    "contexts": 3,
    "own_jacobian": False,
}
USUAL = {"features_per_type": 10, "positions": 20, "contexts": 30, "own_jacobian": True}


def types_of(counts):
    labels = [label for label, count in counts.items() for _ in range(count)]
    frame = pd.DataFrame({"feature": np.arange(len(labels), dtype=np.int32), "type": labels})
    return frame, pd.Series(np.linspace(-5, -1, len(labels)), index=frame["feature"])


def test_each_type_gives_its_share_and_degenerate_features_none():
    types, density = types_of({"prediction": 3, "unclassified": 100, "degenerate": 5})
    sample = choose_features(types, density, 8, (0,))
    assert sample["type"].value_counts().to_dict() == {"unclassified": 8, "prediction": 3}
    assert set(sample.loc[sample["type"] == "unclassified", "stratum"]) == {100}
    assert (density[sample["feature"]].to_numpy() == sample["log10_density"].to_numpy()).all()
    with pytest.raises(FsrlError, match="degenerate"):
        choose_features(*types_of({"degenerate": 4}), 8, (0,))


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 1000))
def test_a_sample_is_spread_evenly_over_the_densities(per_type, seed):
    types, density = types_of({"unclassified": 40})
    sample = choose_features(types, density, per_type, (seed,))
    assert sample.equals(choose_features(types, density, per_type, (seed,)))
    assert sample["feature"].is_unique and len(sample) == per_type
    # Features are numbered in the order of density: every k-th, from a start below k, k = 40 / per_type.
    places, step = sample["feature"].to_numpy(), 40 / per_type
    assert set(np.diff(places)) <= {np.floor(step), np.ceil(step)}
    assert places[0] < step and places[-1] >= 40 - step - 1


def test_unknown_densities_are_no_hindrance():
    types, density = types_of({"unclassified": 10})
    assert len(choose_features(types, density * np.nan, 4, (0,))) == 4


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.floats(0, 1))
def test_sites_have_the_state_they_say_and_a_context_each(seed, n, share):
    rng = torch.Generator().manual_seed(seed)
    activations = (torch.rand(5, 7, 3, generator=rng) - 1 + share).clamp(min=0)
    found = sites(activations, [(seed, i) for i in range(3)], n)
    assert (found.position >= FIRST_POSITION).all()
    active = activations[found.context, found.position, found.feature] > 0
    assert (active.numpy() == (found.state == "active")).all()
    for i in range(3):
        for state, on in (("active", True), ("inactive", False)):
            mine = found.context[(found.feature == i) & torch.from_numpy(found.state == state)]
            has = ((activations[:, 1:, i] > 0) == on).any(1).sum().item()
            assert len(mine) == len(set(mine.tolist())) == min(n, has)


def test_active_sites_are_the_same_without_the_others():
    activations = (torch.rand(6, 9, 3, generator=torch.Generator().manual_seed(2)) - 0.5).clamp(min=0)
    activations[..., 1] = 0
    seeds = [(0, i) for i in range(3)]
    both, active = sites(activations, seeds, 3), sites(activations, seeds, 3, inactive=False)
    own = torch.from_numpy(both.state == "active")
    for name in ("feature", "context", "position"):
        assert torch.equal(getattr(both, name)[own], getattr(active, name))
    assert (active.state == "active").all() and len(active.state) == 6
    none = sites(torch.zeros_like(activations), seeds, 3, inactive=False)
    assert len(none.feature) == len(none.position) == len(none.state) == 0


def test_a_features_sites_do_not_depend_on_the_others():
    activations = (torch.rand(6, 9, 2, generator=torch.Generator().manual_seed(1)) - 0.5).clamp(min=0)
    both = sites(activations, [(0, 4), (0, 7)], 3)
    alone = sites(activations[..., 1:], [(0, 7)], 3)
    mine = both.feature == 1
    assert torch.equal(both.context[mine], alone.context) and torch.equal(both.position[mine], alone.position)


def test_mean_activation_leaves_out_position_0_and_what_is_inactive():
    activations = torch.tensor([[[9.0, 0], [2, 0], [0, 0]], [[9, 9], [4, 0], [0, 0]]])
    found = mean_activation(activations)
    assert found[0] == 3 and np.isnan(found[1])


def test_a_large_model_on_a_cpu_gets_a_smaller_sample():
    of = {"sample": USUAL, "large_model_on_cpu": LARGE}
    assert effect_sample.sample_size(**of, parameters=6_000_000, device="cpu") == SampleSize(1, 2, 3, False)
    for parameters, device in ((4_000_000, "cpu"), (6_000_000, "cuda")):
        assert effect_sample.sample_size(**of, parameters=parameters, device=device) == SampleSize(
            10, 20, 30, True
        )
    with pytest.raises(FsrlError, match="1 or more"):
        SampleSize(0, 1, 1, False)
