"""The stages of large_shapes.py that read tables, on made-up ones of one SAE as wide as the shape's.

What a table holds is drawn: moments with tails like those of features, and nulls with none; alignments with
sets of which some are far out. `write` makes what stages share, before any of them is timed; what one stage
alone reads it makes itself, in seconds at most.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Of the default config.
BOUNDING_DRAWS, FRESH_DRAWS, BOOTSTRAP = 100_000, 20_000, 1000
CLAIMS = {
    "level": 0.05,
    "min_features": 10,
    "null_features": 100,
    "dip_features": 200,
    "dip_draws": 1000,
    "seed": 0,
}
FAR = 0.15  # share of features with a tail
N_SETS = 60
VIEW = "trained"


def write(folder: Path, features: int) -> None:
    """Moments of the features, what is kept of nulls, and fresh ones, unless they are there."""
    import numpy as np
    import pandas as pd

    from fsrl.names import BOUNDING
    from fsrl.nulls import quantiles

    if (folder / "moments.parquet").exists():
        return
    rng = np.random.default_rng(0)
    nulls = {
        name: pd.concat([_moments(rng, draws, 0.0).assign(kind=kind) for kind in BOUNDING], ignore_index=True)
        for name, draws in (("known", BOUNDING_DRAWS), ("fresh", FRESH_DRAWS))
    }
    quantiles.quantile_frame(nulls["known"]).to_parquet(folder / "null_quantiles.parquet")
    nulls["fresh"].to_parquet(folder / "fresh.parquet")
    frame = _moments(rng, features, FAR)
    frame.insert(0, "feature", np.arange(features, dtype=np.int32))
    density = rng.normal(-3, 0.7, features).astype(np.float32)
    frame.assign(log10_density=density, alive=True).to_parquet(folder / "moments.parquet")


def _moments(rng: Any, n: int, far: float) -> Any:
    """Columns of the table `moments` of n directions; far: the share of them with a tail on one side."""
    import numpy as np
    import pandas as pd

    strength = np.where(rng.random(n) < far, rng.gamma(1, 1, n), 0.0)
    sign = rng.choice([-1, 1], n)
    sides = {}
    for side, own in (("right", sign > 0), ("left", sign < 0)):
        tail = np.where(own, strength, 0.0)
        sides[f"{side}_kurtosis"] = 1.5 + 0.02 * rng.normal(size=n) + tail
        sides[f"{side}_eighth"] = 52.5 + 2 * rng.normal(size=n) + 60 * tail
        tokens = np.where(tail > 0, rng.gamma(2, 20, n), np.inf)
        sides["tail_tokens" if side == "right" else "left_tail_tokens"] = tokens
    frame = pd.DataFrame({"mean": rng.normal(0, 0.01, n), "std": rng.gamma(400, 0.0025, n), **sides})
    kurtosis = frame["right_kurtosis"] + frame["left_kurtosis"]
    share = ((frame["right_kurtosis"] - 1.5) / (kurtosis - 3)).where(kurtosis > 3)
    frame = frame.assign(kurtosis=kurtosis, right_share=share, bimodality=1 / 3, norm=1.0)
    return frame.assign(skewness=0.02 * rng.normal(size=n) + 0.3 * sign * strength)


class Given:
    """What is read of an SAE's first rows: moments, nulls, schemes."""

    def __init__(self, asked: argparse.Namespace) -> None:
        import numpy as np
        import pandas as pd
        import yaml

        from fsrl.types.rules import parse_schemes

        self.moments = pd.read_parquet(asked.folder / "moments.parquet").head(asked.rows)
        self.quantiles = pd.read_parquet(asked.folder / "null_quantiles.parquet")
        self.fresh = pd.read_parquet(asked.folder / "fresh.parquet")
        schemes = yaml.safe_load((ROOT / "config/config.yaml").read_text())["types"]["schemes"]
        # Without those that read a view of their own.
        self.schemes = parse_schemes({name: one for name, one in schemes.items() if not one.get("view")})
        self.clusters, self.d_model = np.arange(len(self.moments)), asked.d_model

    def typed(self, *views: str) -> dict[str, Any]:
        """The tables of types of the last of these views."""
        from fsrl.nulls import quantiles
        from fsrl.types import layer

        seen = layer.Seen(self.moments, quantiles.bounds(self.quantiles), self.fresh)
        given = dict.fromkeys(views, seen), self.clusters
        *_, (_, found) = layer.of_views(self.schemes, *given, d_model=self.d_model, seed=0)
        return found

    def tests(self) -> dict[str, Any]:
        """Of each feature and set t, eta2 and log10 p, float32 [rows, N_SETS]."""
        import numpy as np

        rng, shape = np.random.default_rng(2), (len(self.moments), N_SETS)
        t = rng.normal(size=shape) * np.where(rng.random(shape) < 0.02, 6.0, 1.0)
        found = {"t": t, "eta2": t**2 / (t**2 + self.d_model), "log10_p": -(t**2) / (2 * np.log(10))}
        return {name: values.astype(np.float32) for name, values in found.items()}

    def best(self, tests: dict[str, Any]) -> tuple[Any, Any]:
        """Discoveries, and the table `best_sets`."""
        import torch

        from fsrl.enrichment import best_sets

        study = best_sets.of_study([tests["log10_p"]], level=0.05)
        t, log10_p = tests["t"], tests["log10_p"]
        counts = tuple(flags.sum(axis=1) for flags in best_sets.significant(t, log10_p, study.cut))
        best = best_sets.best_sets(*map(torch.from_numpy, (t, log10_p, study.log10_q[0])))
        chosen = {"eta2": tests["eta2"], "clusters": self.clusters, "counts": counts}
        return study, best_sets.best_sets_frame(best, _names(), **chosen)


def _names() -> list[str]:
    return [f"set_{number}" for number in range(N_SETS)]


def _members(n_tokens: int) -> Any:
    """A row a token, a column a set, of some 20 tokens to a tenth of all."""
    import numpy as np
    import pandas as pd

    shares = np.geomspace(20 / n_tokens, 0.1, N_SETS)
    return pd.DataFrame(np.random.default_rng(1).random((n_tokens, N_SETS)) < shares, columns=_names())


def _view(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> Any:
    """The first rows, without undertrained tokens."""
    from dataclasses import replace

    from fsrl.weights import matrices

    few = replace(decoder, W_dec=decoder.W_dec[: asked.rows])
    return matrices.view(few, unembedding, tokens=VIEW)


def run_types(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """Under all schemes that read the view itself, in two views."""
    Given(asked).typed("main", VIEW)


def run_summary(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """What follows from the tests: rates, best sets, odds ratios, splits. Signed scores are a stage of their
    own: one feature of each type here.
    """
    from fsrl.enrichment import study

    given = Given(asked)
    tests = given.tests()
    found, _ = given.best(tests)
    layer = study.LayerTests(
        "sae", _names(), **tests, log10_q=found.log10_q[0], log10_p_stratified=tests["log10_p"]
    )
    read = _members(len(unembedding.tokens)), given.typed(VIEW)["types"], given.clusters, unembedding.tokens
    chosen: dict[str, Any] = {
        "scheme": "calibrated",
        "settings": {"bootstrap": BOOTSTRAP, "seed": 0, "scored": 1},
    }
    study.layer_tables(layer, found.cut, _view(asked, unembedding, decoder), *read, **chosen)


def run_claims(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """All claims in one layer, with the dips of null directions, and what is asked of fresh ones."""
    from fsrl.claims import claims, study

    given = Given(asked)
    tests = given.tests()
    found, best = given.best(tests)
    nulls = study.Nulls({VIEW: given.fresh}, given.quantiles, 0)
    enrichment = _members(len(unembedding.tokens)), tests["t"], tests["log10_p"], tests["eta2"]
    known = {VIEW: given.moments}, given.typed(VIEW)["types"], best, enrichment, nulls, given.schemes
    view = _view(asked, unembedding, decoder)
    layer = study.layer("sae", view, *known, cut=found.cut, settings=CLAIMS)
    few = {"min_features": CLAIMS["min_features"], "draws": BOOTSTRAP, "seed": 0}
    claims.compare_layer(layer.inputs, given.schemes, layer.nulls, **few)


def run_browser(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """The site of one layer with all that a study may have; its numbers are those of the tests' fixture."""
    import sys

    sys.path.insert(0, str(ROOT))
    from fsrl.browser import site
    from tests.fixtures import browser_study

    said, layers = browser_study.full(1, asked.rows, asked.tokens)
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        site.write(said, layers, Path(place) / "browser")


def run_dataset(asked: argparse.Namespace, unembedding: Any, decoder: Any) -> None:
    """The folder of one SAE and view: moments, extreme tokens, histograms, types and best sets, and in
    Neuronpedia's layout.
    """
    import yaml

    from fsrl.dataset import folder
    from fsrl.dataset.card import About
    from fsrl.dataset.merge import Part
    from fsrl.tables import core

    about = {"sae": decoder.sae, "hook": decoder.hook, "layer": str(decoder.layer), "model": "made-up"}
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        parts: dict[str, list[Part]] = {}
        for table, frame in _published(asked, unembedding):
            path = Path(place) / f"{table.name}.parquet"
            core.write(frame, path, table, about)
            parts[table.name] = [Part(path, decoder.sae, VIEW)]
        citation = yaml.load((ROOT / "CITATION.cff").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        said = About("made-up", "made up", citation, {VIEW: {"tokens": VIEW}}, [], VIEW)
        folder.write(Path(place) / "dataset", said, parts, {decoder.sae: ("made-up", None)})


def _published(asked: argparse.Namespace, unembedding: Any) -> list[tuple[Any, Any]]:
    import numpy as np
    import pandas as pd

    from fsrl.tables.enrichment import BEST_SETS
    from fsrl.tables.moments import EXTREMES, HISTOGRAMS, MOMENTS
    from fsrl.tables.types import TYPES

    given, rng, most = Given(asked), np.random.default_rng(3), 10
    n, bins = len(given.moments), 50
    ids = rng.integers(len(unembedding.tokens), size=2 * n * most).astype(np.int32)
    every = np.arange(n, dtype=np.int32)
    extremes = pd.DataFrame(
        {
            "feature": np.tile(np.repeat(every, most), 2),
            "side": pd.Series(np.repeat(["top", "bottom"], n * most), dtype="str"),
            "rank": np.tile(np.arange(most, dtype=np.int32), 2 * n),
            "token_id": ids,
            "token": pd.Series(np.asarray(unembedding.tokens, dtype=object)[ids], dtype="str"),
            "weight": rng.normal(size=2 * n * most),
        }
    )
    counts = list(rng.poisson(len(unembedding.tokens) / bins, (n, bins)).astype(np.int64))
    none = np.zeros(n, dtype=np.int64)
    histograms = pd.DataFrame({"feature": every, "underflow": none, "counts": counts, "overflow": none})
    moments = given.moments.assign(alive=pd.array([True] * n, dtype="boolean"))[list(MOMENTS.columns)]
    types = given.typed(VIEW)["types"]
    _, best = given.best(given.tests())
    return [
        (MOMENTS, moments),
        (EXTREMES, extremes),
        (HISTOGRAMS, histograms),
        (TYPES, types),
        (BEST_SETS, best),
    ]
