"""A study's tables as the workflow lays them out, with random numbers in them: results/{study}/..."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from fsrl.claims import claims
from fsrl.names import KINDS, SHARED, TYPES
from fsrl.tables import core as tables
from fsrl.tables import types as type_tables
from fsrl.tables.claims import CLAIMS_TABLE
from fsrl.tables.effects import SUMMARY
from fsrl.tables.enrichment import DISCOVERIES
from fsrl.tables.moments import MOMENTS, NULL
from fsrl.tables.planted import RECOVERY
from fsrl.tables.sensitivity import AGREEMENT, SENSITIVITY, STABILITY
from fsrl.tables.tokens import TOKENS
from fsrl.tables.types import THRESHOLDS, TYPE_COUNTS
from fsrl.types import classify, summary
from tests.unit.type_examples import CALIBRATED, POST

STUDY, VIEW, OTHER = "made-up", "trained", "main"
SAES = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"]
SCHEMES = {"post": POST, "calibrated": CALIBRATED}
FEATURES, D_MODEL, D_VOCAB = 60, 16, 400
METADATA = {
    "study": STUDY,
    "model": "made/up_model",
    "release": "made-up saes",
    "d_model": str(D_MODEL),
    "d_vocab": str(D_VOCAB),
    "model_revision": "local folder",
    "precision": "fp32",
    "torch": "0.0",
    "trained_tokens": "at least 5 occurrences: 30 left out",
    "view": json.dumps({"w_u": "folded", "tokens": "trained", "cosine": False}),
}


def _moments(rng: np.random.Generator, n: int, tail: float) -> pd.DataFrame:
    skewness = tail * rng.standard_t(3, n)
    kurtosis = 3 + skewness**2 + tail * rng.gamma(1.0, 1.0, n)
    frame = pd.DataFrame({"mean": rng.normal(size=n), "std": rng.gamma(5, 0.1, n), "skewness": skewness})
    frame["kurtosis"] = kurtosis
    frame["bimodality"] = (skewness**2 + 1) / kurtosis
    frame["implied_tokens"] = np.where(skewness > 0, rng.gamma(2, 10, n), np.nan)
    return frame.assign(norm=1.0)


def _filled(table: tables.Table, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the table's other columns, of which no headline reads one."""
    blank = {"string": "", "bool": False}
    for name, column in table.columns.items():
        if name not in frame:
            frame = frame.assign(**{name: blank.get(column.dtype, 0)})
        if column.dtype.startswith("float") or (column.dtype.startswith("int") and not column.nullable):
            frame[name] = frame[name].astype(column.dtype)
    return frame[list(table.columns)]


def write(results: Path) -> dict[str, object]:
    """Write the study's tables; returns name of a field of `StudyTables` -> path or paths."""
    rng = np.random.default_rng(0)
    folder = results / STUDY
    given: dict[str, object] = {"moments": [], "thresholds": []}
    for view in (VIEW, OTHER):
        shared = _null(rng, [SHARED], 3000)
        _put(folder / f"nulls/{view}.parquet", shared, NULL)
        layers = [_layer(rng, folder, sae, view, shared, given) for sae in SAES]
        path = folder / f"summary/{view}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        summary.layer_summary(layers, scheme="calibrated").to_csv(path, sep="\t", index=False)
    given |= {"null": folder / f"nulls/{VIEW}.parquet", "other_null": folder / f"nulls/{OTHER}.parquet"}
    given |= {"summary": folder / f"summary/{VIEW}.tsv", "other_summary": folder / f"summary/{OTHER}.tsv"}
    tokens = pd.DataFrame({"token_id": np.arange(D_VOCAB), "token": "a", "text": "a"})
    tokens["count"] = pd.array([None] * D_VOCAB, dtype="Int64")
    tokens["trained"] = pd.array(np.arange(D_VOCAB) >= 30, dtype="boolean")
    given["tokens"] = _put(folder / "tokens.parquet", tokens.astype({"token_id": "int32"}), TOKENS)
    return given | _evidence(rng, folder)


def _null(rng: np.random.Generator, kinds: list[str], n: int) -> pd.DataFrame:
    parts = [_moments(rng, n, 0.2).assign(kind=kind, draw=np.arange(n, dtype=np.int32)) for kind in kinds]
    return pd.concat(parts, ignore_index=True)[list(NULL.columns)]


def _layer(
    rng: np.random.Generator, folder: Path, sae: str, view: str, shared: pd.DataFrame, given: dict
) -> summary.Layer:
    place = folder / sae / view
    frame = _moments(rng, FEATURES, 0.6).assign(feature=np.arange(FEATURES, dtype=np.int32))
    frame["log10_density"] = np.float32(-2)
    frame["alive"] = pd.array([True] * FEATURES, dtype="boolean")
    frame = frame[list(MOMENTS.columns)]
    null = _null(rng, [kind for kind in KINDS if kind != SHARED], 1000)
    both = pd.concat([shared, null], ignore_index=True)
    counts = classify.type_counts(frame, SCHEMES, both, d_model=D_MODEL)
    types = classify.classify(frame, SCHEMES, both, d_model=D_MODEL)
    cuts = classify.thresholds(frame, SCHEMES, both, d_model=D_MODEL)
    _put(place / "null.parquet", null, NULL)
    _put(place / "types.parquet", types, type_tables.TYPES)
    _put(place / "type_counts.parquet", counts, TYPE_COUNTS)
    paths = {
        "moments": _put(place / "moments.parquet", frame, MOMENTS),
        "thresholds": _put(place / "thresholds.parquet", cuts, THRESHOLDS),
    }
    if view == VIEW:
        for name, path in paths.items():
            given[name].append(path)
    return summary.Layer(sae, frame, counts, both)


def _evidence(rng: np.random.Generator, folder: Path) -> dict[str, Path]:
    n = len(SAES)
    found = pd.DataFrame({"sae": SAES, "sets": 40, "tests": 40 * FEATURES, "features": [9, 4, 7]})
    found["promoted"], found["suppressed"] = rng.integers(0, 50, n), rng.integers(0, 50, n)
    tested = _claims()
    moved = _moved(rng)
    agreed = pd.DataFrame(
        [
            (sae, "schemes", "post", "calibrated", None, "any", kappa)
            for sae, kappa in zip(SAES, (0.1, -0.2, np.nan), strict=True)
        ]
        + [(sae, "views", VIEW, OTHER, "calibrated", "any", 0.5) for sae in SAES],
        columns=["sae", "compared", "first", "second", "scheme", "type", "kappa"],
    )
    stable = pd.DataFrame({"scheme": "calibrated", "type": TYPES, "layers": n})
    stable["layers_above_chance"] = [3, 1, 0, 0]
    effects = _effects(rng)
    planted = _recovery(rng)
    frames = {
        "discoveries": (found, DISCOVERIES, f"discoveries/{VIEW}.parquet"),
        "claim_tests": (tested, CLAIMS_TABLE, f"claims/{VIEW}.parquet"),
        "sensitivity": (moved, SENSITIVITY, f"sensitivity/{VIEW}.parquet"),
        "agreement": (agreed, AGREEMENT, f"sensitivity/{VIEW}_agreement.parquet"),
        "stability": (stable, STABILITY, f"sensitivity/{VIEW}_stability.parquet"),
        "effects": (effects, SUMMARY, "summary/effects_summary.parquet"),
        "recovery": (planted, RECOVERY, "planted/recovery.parquet"),
    }
    paths = {
        name: _put(folder / place, _filled(table, frame), table)
        for name, (frame, table, place) in frames.items()
    }
    paths["claims"] = folder / f"claims/{VIEW}.tsv"
    claims.verdicts(_filled(CLAIMS_TABLE, tested)).to_csv(paths["claims"], sep="\t", index=False)
    return paths


def _moved(rng: np.random.Generator) -> pd.DataFrame:
    rows = [
        ("calibrated", "null quantiles", label, factor, sae)
        for label in TYPES
        for factor in (10.0, 1.0, 0.1)
        for sae in SAES
    ]
    frame = pd.DataFrame(rows, columns=["scheme", "column", "type", "factor", "sae"])
    frame["members"], frame["expected"] = rng.integers(0, 60, len(frame)), rng.gamma(1, 1, len(frame))
    return frame


def _claims() -> pd.DataFrame:
    """Two claims asked in two ways and one asked once, with every verdict among them."""
    said = {
        "digits": ("prediction", "promotes digits & signs", ["holds", "holds", "undecided"]),
        "digits_t": ("prediction", "promotes digits & signs", ["undecided", "undecided", "undecided"]),
        "brackets": ("local_context", "promotes brackets", ["contradicted", "contradicted", "cannot speak"]),
        "brackets_t": ("local_context", "promotes brackets", ["contradicted"] * 3),
        "low_std": ("local_context", "has low std", ["by definition"] * 3),
    }
    rows = [
        {"scheme": scheme, "claim": name, "type": label, "statement": text, "sae": sae, "verdict": verdict}
        for scheme in ("post", "calibrated")
        for name, (label, text, verdicts) in said.items()
        for sae, verdict in zip(SAES, verdicts, strict=True)
    ]
    frame = pd.DataFrame(rows)
    untested = frame["verdict"].isin(["cannot speak", "by definition"])
    frame["p"] = np.where(untested, np.nan, 0.5)
    return frame.assign(measure=np.where(frame["claim"].str.endswith("_t"), "AUC", "odds ratio"), test="t")


def _effects(rng: np.random.Generator) -> pd.DataFrame:
    rows = [
        {"sae": sae, "type": label, "state": state, "step": step}
        for sae in SAES
        for label in ("prediction", "unclassified", "all")
        for state in ("active", "inactive")
        for step in ("+1", "+own")
    ]
    frame = pd.DataFrame(rows)
    frame["features"], frame["stratum"] = rng.integers(1, 20, len(frame)), 60
    for name in ("pearson", "random", "averaged_pearson", "kept"):
        frame[name] = rng.uniform(0, 1, len(frame))
    middle = {SAES[0]: -0.3, SAES[1]: 0.3, SAES[2]: 0.0}
    frame["difference_low"] = frame["sae"].map(middle) - 0.1
    frame["difference_high"] = frame["sae"].map(middle) + 0.1
    return frame


def _recovery(rng: np.random.Generator) -> pd.DataFrame:
    rows = [
        {"scheme": "calibrated", "type": label, "planted_share": share, "strength": strength}
        | {"population": population}
        for label in TYPES
        for share in (0.01, 0.05, 0.15)
        for strength in (2.0, 12.0)
        for population in ("all", "clear")
    ]
    frame = pd.DataFrame(rows)
    frame["planted"] = rng.integers(5, 20, len(frame))
    frame.loc[0:2, "planted"] = 0
    frame["correct"] = (frame["planted"] * rng.uniform(0.5, 1, len(frame))).astype(int)
    frame["labelled"] = frame["correct"] + rng.integers(1, 5, len(frame))
    frame["precision"] = frame["correct"] / frame["labelled"]
    frame["recall"] = frame["correct"] / frame["planted"].where(frame["planted"] > 0)
    return frame


def _put(path: Path, frame: pd.DataFrame, table: tables.Table) -> Path:
    tables.write(frame, path, table, METADATA)
    return path
