"""Files of one study -> the tables behind the paper's numbers (`fsrl.numbers.headlines.StudyTables`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from fsrl.numbers.headlines import StudyTables
from fsrl.tables import core as tables
from fsrl.tables.claims import CLAIMS_SUMMARY, CLAIMS_TABLE
from fsrl.tables.effects import BY_HOOK, SUMMARY
from fsrl.tables.enrichment import DISCOVERIES, NULL_LEVEL, NULL_P_VALUES, SET_COVERAGE
from fsrl.tables.moments import MOMENTS, NULL
from fsrl.tables.planted import RECOVERY
from fsrl.tables.sensitivity import ABLATIONS, AGREEMENT, SENSITIVITY, STABILITY
from fsrl.tables.steering import FORECASTS, NEXT_TOKEN_SUMMARY
from fsrl.tables.tokens import TOKENS
from fsrl.tables.types import THRESHOLDS, TYPE_NULL_COUNTS

# Fields of StudyTables that are one parquet table, and one for each layer.
SINGLE = {
    "tokens": TOKENS,
    "null": NULL,
    "other_null": NULL,
    "discoveries": DISCOVERIES,
    "set_coverage": SET_COVERAGE,
    "claims": CLAIMS_SUMMARY,
    "claim_tests": CLAIMS_TABLE,
    "sensitivity": SENSITIVITY,
    "agreement": AGREEMENT,
    "stability": STABILITY,
    "effects": SUMMARY,
    "by_hook": BY_HOOK,
    "null_p_values": NULL_P_VALUES,
    "null_level": NULL_LEVEL,
    "forecasts": FORECASTS,
    "next_token": NEXT_TOKEN_SUMMARY,
    "recovery": RECOVERY,
    "ablations": ABLATIONS,
}
LAYERS = {"moments": MOMENTS, "thresholds": THRESHOLDS, "null_counts": TYPE_NULL_COUNTS}
# Written for people too; their columns depend on the study.
TSV = ("summary", "other_summary", "dictionaries")


def read(given: Mapping[str, Any], sae_ids: Sequence[str], **known: Any) -> StudyTables:
    """The tables of one study; given: field -> path, or paths in the order of sae_ids; other names are left
    alone.

    known: study, title, view, scheme, other_view and titles. Raises FsrlError for a path that is no such
    table.
    """
    found: dict[str, Any] = dict(known)
    for name, table in LAYERS.items():
        paths = _as_list(given[name])
        found[name] = {sae: tables.read(path, table) for sae, path in zip(sae_ids, paths, strict=True)}
    paths = _as_list(given["moments"])
    found["metadata"] = {sae: tables.read_metadata(path) for sae, path in zip(sae_ids, paths, strict=True)}
    for name, table in SINGLE.items():
        if name in given:
            found[name] = tables.read(given[name], table)
    for name in TSV:
        if name in given:
            found[name] = tables.read_tsv(given[name])
    return StudyTables(**found)


def _as_list(paths: Any) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)
