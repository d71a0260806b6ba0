"""What a feature analyzer is given, checked before it looks at anything."""

import operator
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from fsrl import arguments
from fsrl.adapter.hooked_model import HookedModel
from fsrl.errors import FsrlError
from fsrl.weights.matrices import Unembedding

EXPLANATIONS = ("neuronpedia", "local")


def check(sae_model: Any, given: Mapping[str, Any]) -> None:
    """Raise FsrlError for no `HookedModel` and for a wrong one of SAEfeatureAnalyzer's own arguments.

    given: by name; None is always right. Whether files exist is seen when they are read.
    """
    if not isinstance(sae_model, HookedModel):
        raise FsrlError(
            f"SAEfeatureAnalyzer: {type(sae_model).__name__} is no HookedModel; give HookedModel(model, sae)"
        )
    a_path = "give the path of a file"
    place = given["neuronpedia"]
    met = {
        "neuronpedia": (
            place is False or isinstance(place, str),
            'give "gpt2-small/7-res-jb" or alike, or False',
        ),
        "explanations": (given["explanations"] in EXPLANATIONS, f"choose {' or '.join(EXPLANATIONS)}"),
        "unembedding": (
            isinstance(given["unembedding"], Unembedding) or arguments.is_path(given["unembedding"]),
            "give an fsrl.weights.Unembedding or its file",
        ),
        "sparsity": (isinstance(given["sparsity"], Tensor), "give a torch tensor [d_sae]"),
        "progress": (isinstance(given["progress"], bool), "choose True or False"),
        "text": (arguments.is_path(given["text"]), a_path),
        "token_counts": (arguments.is_path(given["token_counts"]), a_path),
        "cache": (arguments.is_path(given["cache"]), "give the path of a folder"),
    }
    for name, (right, wanted) in met.items():
        arguments.require(given[name] is None or right, "SAEfeatureAnalyzer", name, given[name], wanted)


def feature(given: Any, n_features: int) -> int:
    """The index of a feature; FsrlError for one that there is not."""
    if not arguments.is_whole(given):
        raise FsrlError(f"{arguments.shown(given)} is no index of a feature; give a whole number from 0 on")
    index = operator.index(given)
    if index >= n_features:
        raise FsrlError(f"no feature {index}: the SAE has features 0 to {n_features - 1}")
    return index


def features(given: Any, n_features: int) -> list[int]:
    """The indices of several features."""
    wanted = "give a list of indices of features"
    arguments.require(isinstance(given, Iterable), "quick list", "features", given, wanted)
    return [feature(one, n_features) for one in given]
