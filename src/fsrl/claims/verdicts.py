"""What every test of a claim comes to, and all layers together: verdicts.

p is adjusted after Holm over every test of the study and view (`fsrl.claims.claims` makes them):

    holds          significant, in the claimed direction
    contradicted   significant, in the other direction
    undecided      enough features, no significant difference
    cannot speak   fewer than `min_features` clusters of features on one side, nothing to look at, or so few
                   features with a significant set that p < .05 is out of reach
    no null        enough features, but of no bounding null as many directions of the type, so that nobody
                   knows what the AUC is by construction
    by definition  the scheme's rule for the type already fixes what the claim looks at

Of all layers together (`verdicts`): holds, or is contradicted, in more than half of the layers that can
speak, and not the other way round in any of them; mixed where there are layers of both kinds; else undecided.
The effect over these layers is that of `fsrl.stats.pooled`, of the excess of an AUC over that of null
directions, and of the logarithm of an odds ratio.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fsrl.stats import two_groups
from fsrl.stats.pooled import Pooled, pooled
from fsrl.tables.claims import CLAIMS_SUMMARY, CLAIMS_TABLE

HOLDS, CONTRADICTED, UNDECIDED = "holds", "contradicted", "undecided"


CANNOT_SPEAK, NO_NULL, BY_DEFINITION, MIXED = "cannot speak", "no null", "by definition", "mixed"
SPEAKING = (HOLDS, CONTRADICTED, UNDECIDED)


def judge(layers: Sequence[pd.DataFrame], *, level: float) -> pd.DataFrame:
    """The table `claims` of a study and view from what `compare_layer` found in each layer."""
    frame = pd.concat(layers, ignore_index=True)
    frame["p_holm"] = two_groups.holm(frame["p"].to_numpy(dtype=float))
    called = (frame["p_holm"] <= level).to_numpy()
    agrees = ((frame["value_type"] > frame["value_other"]) == frame["higher"]).to_numpy()
    by_rank = (frame["measure"] == "AUC").to_numpy()
    agrees = np.where(by_rank, (frame["excess"] > 0) == frame["higher"], agrees)
    verdict = np.where(called, np.where(agrees, HOLDS, CONTRADICTED), UNDECIDED)
    verdict = np.where(frame["p"].isna(), CANNOT_SPEAK, verdict)
    verdict = np.where(frame["p"].isna() & by_rank & frame["effect"].notna(), NO_NULL, verdict)
    frame["verdict"] = np.where(frame["circular"], BY_DEFINITION, verdict)
    text = [name for name, column in CLAIMS_TABLE.columns.items() if column.dtype == "string"]
    return frame[list(CLAIMS_TABLE.columns)].astype(dict.fromkeys(text, "str"))


def summary(claims: pd.DataFrame) -> pd.DataFrame:
    """The table `claims_summary`: one row per scheme and claim, over all layers of a table `claims`."""
    rows = []
    for (scheme, claim), part in claims.groupby(["scheme", "claim"], sort=False):
        found, first = part["verdict"].tolist(), part.iloc[0]
        row = {"scheme": scheme, "claim": claim}
        row |= {name: first[name] for name in ("type", "statement", "test", "measure")}
        row |= {"verdict": _overall(found), **_pooled(part)._asdict()}
        row["layers"] = sum(found.count(verdict) for verdict in SPEAKING)
        for verdict in (*SPEAKING, CANNOT_SPEAK, NO_NULL, BY_DEFINITION):
            row[verdict.replace(" ", "_")] = found.count(verdict)
        rows.append(row)
    frame = pd.DataFrame(rows)[list(CLAIMS_SUMMARY.columns)]
    text = [name for name, column in CLAIMS_SUMMARY.columns.items() if column.dtype == "string"]
    return frame.astype(dict.fromkeys(text, "str"))


def _pooled(part: pd.DataFrame) -> Pooled:
    """The effect of one claim over the layers that can speak."""
    part = part[part["verdict"].isin(SPEAKING)]
    if (part["measure"] == "AUC").all():
        return pooled(part["excess"].to_numpy(dtype=float), part["excess_error"].to_numpy(dtype=float))
    logs = np.log(part["effect"].to_numpy(dtype=float))
    return Pooled(*map(float, np.exp(pooled(logs, part["error"].to_numpy(dtype=float)))))


def verdicts(claims: pd.DataFrame) -> pd.DataFrame:
    """`summary`, written for people: what it says, then a column per layer."""
    cells = {
        key: {row.sae: _cell(row) for row in part.itertuples()}
        for key, part in claims.groupby(["scheme", "claim"], sort=False)
    }
    found = summary(claims)
    by_layer = pd.DataFrame([cells[row.scheme, row.claim] for row in found.itertuples()])
    return pd.concat([found, by_layer], axis=1)


def _overall(found: list[str]) -> str:
    speaking = [verdict for verdict in found if verdict in SPEAKING]
    if not speaking:
        return next(verdict for verdict in (BY_DEFINITION, NO_NULL, CANNOT_SPEAK) if verdict in found)
    sides = [verdict for verdict in (HOLDS, CONTRADICTED) if verdict in speaking]
    if len(sides) == 2:
        return MIXED
    if sides and 2 * speaking.count(sides[0]) > len(speaking):
        return sides[0]
    return UNDECIDED


def _cell(row: Any) -> str:
    """A layer's result in a few characters."""
    if row.verdict in (CANNOT_SPEAK, NO_NULL, BY_DEFINITION):
        return f"{row.verdict} ({row.n_type})"
    interval = f"{row.effect:.3g} [{row.low:.3g}, {row.high:.3g}]"
    null = f", by chance {row.reference:.3g}" if row.measure == "AUC" else ""
    return f"{row.verdict}: {interval}{null}, {row.value_type:.3g} vs {row.value_other:.3g}, n {row.n_type}"
