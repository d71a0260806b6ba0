"""A study's tables on disk -> what a site is made of, one layer held at a time."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from fsrl.browser.layer import LayerTables, Shown
from fsrl.enrichment import store
from fsrl.names import BOUNDING
from fsrl.nulls.joined import joined
from fsrl.pages.record import RANKED
from fsrl.tables import core as tables
from fsrl.tables.core import Table
from fsrl.tables.directions import CONTEXTS, NEIGHBOURS, NULL_SHAPES
from fsrl.tables.effects import AGREEMENT, EFFECTS
from fsrl.tables.enrichment import BEST_SETS, SCORES
from fsrl.tables.explanations import EXPLANATIONS
from fsrl.tables.moments import EXTREMES, HISTOGRAMS, MOMENTS
from fsrl.tables.tokens import TOKENS
from fsrl.tables.types import TYPES

SHOWN = {"moments": MOMENTS, "extremes": EXTREMES, "histograms": HISTOGRAMS}
ALWAYS = {"types": TYPES, "neighbours": NEIGHBOURS, "shapes": NULL_SHAPES}
# Where the study has them.
OTHERS = {
    "best_sets": BEST_SETS,
    "scores": SCORES,
    "effects": EFFECTS,
    "agreement": AGREEMENT,
    "explanations": EXPLANATIONS,
    "contexts": CONTEXTS,
}
TRANSPORTED = "transported_"  # begins the names of SHOWN in the view with transport
# What of the provenance a site prints.
MADE = ("model", "model_revision", "model_sha256", "release", "W_U_processing", "trained_tokens", "torch")


def layers(
    saes: Sequence[str], paths: Mapping[str, Sequence[str | Path]], shared_null: str | Path
) -> Iterator[LayerTables]:
    """The tables of each SAE. paths: table -> one file an SAE, none where the study has no such table.

    Tables: moments, extremes, histograms, types, neighbours and shapes; null: of the layer's own directions;
    enrichment, best_sets, scores, effects, agreement (of effects), explanations, contexts; moments, extremes
    and histograms with "transported_" before the name. shared_null: directions that layers share. FsrlError
    for no such table.
    """
    shared = _null(shared_null)
    for number, sae in enumerate(saes):
        own = {name: found[number] for name, found in paths.items() if len(found)}
        sets: list[str] = []
        statistics = None
        if "enrichment" in own:
            sets, found = store.statistic(own["enrichment"], "z", "t", "log10_p")
            statistics = dict(zip(("z", "t", "log10_p"), found, strict=True))
        null = joined(shared, [_null(own["null"])] if "null" in own else [])
        transported = _read(own, SHOWN, TRANSPORTED)
        said = tables.read_metadata(own["moments"])
        yield LayerTables(
            sae=sae,
            hook=said.get("hook", sae),
            reads=said["encoder_hook"].split(":")[0] if "encoder_hook" in said else None,
            shown=Shown(**_read(own, SHOWN)),
            null=null[null["kind"].isin(BOUNDING)],
            sets=sets,
            statistics=statistics,
            transported=Shown(**transported) if transported else None,
            **_read(own, ALWAYS | OTHERS),
        )


def _read(
    paths: Mapping[str, str | Path], specifications: Mapping[str, Table], begin: str = ""
) -> dict[str, pd.DataFrame]:
    """Those of the tables that there are; begin: what stands before their names in `paths`."""
    return {
        name: tables.read(paths[begin + name], table)
        for name, table in specifications.items()
        if begin + name in paths
    }


def sets_of(enrichment: Sequence[str | Path]) -> list[str]:
    """The tested sets of a study, in the order of its tables; none where nothing was tested."""
    found = dict.fromkeys(name for path in enrichment for name in store.statistic(path)[0])
    return list(found)


def tokens(path: str | Path) -> list[str]:
    """The vocabulary, as stored."""
    return tables.read(path, TOKENS).sort_values("token_id")["token"].tolist()


def made(path: str | Path) -> dict[str, str]:
    """What a table says of where it comes from, as far as a site prints it."""
    metadata = tables.read_metadata(path)
    return {key: metadata[key] for key in MADE if key in metadata}


def _null(path: str | Path) -> pd.DataFrame:
    return tables.read_columns(path, ["kind", *RANKED, "norm"]).to_pandas()
