"""What every test of a claim comes to, and all layers together: verdicts.

p is adjusted after Holm over every test of the study and view (`fsrl.claims.claims` makes them):

    holds          significant, in the claimed direction
    contradicted   significant, in the other direction
    undecided      enough features, no significant difference
    cannot speak   fewer than `min_features` clusters of features on one side, nothing to look at, or so few
                   features with a significant set that p < .05 is out of reach
    by definition  the scheme's rule for the type already fixes what the claim looks at

Of all layers together (`verdicts`): holds, or is contradicted, in more than half of the layers that can
speak, and not the other way round in any of them; mixed where there are layers of both kinds; else undecided.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fsrl.stats import two_groups
from fsrl.tables.claims import CLAIMS_TABLE

HOLDS, CONTRADICTED, UNDECIDED = "holds", "contradicted", "undecided"


CANNOT_SPEAK, BY_DEFINITION, MIXED = "cannot speak", "by definition", "mixed"


def judge(layers: Sequence[pd.DataFrame], *, level: float) -> pd.DataFrame:
    """The table `claims` of a study and view from what `compare_layer` found in each layer."""
    frame = pd.concat(layers, ignore_index=True)
    frame["p_holm"] = two_groups.holm(frame["p"].to_numpy(dtype=float))
    called = (frame["p_holm"] <= level).to_numpy()
    agrees = ((frame["value_type"] > frame["value_other"]) == frame["higher"]).to_numpy()
    # Medians may be equal where ranks differ, so an AUC has its own direction.
    by_rank = (frame["measure"] == "AUC").to_numpy()
    agrees = np.where(by_rank, (frame["effect"] > 0.5) == frame["higher"], agrees)
    verdict = np.where(called, np.where(agrees, HOLDS, CONTRADICTED), UNDECIDED)
    verdict = np.where(frame["p"].isna(), CANNOT_SPEAK, verdict)
    frame["verdict"] = np.where(frame["circular"], BY_DEFINITION, verdict)
    text = [name for name, column in CLAIMS_TABLE.columns.items() if column.dtype == "string"]
    return frame[list(CLAIMS_TABLE.columns)].astype(dict.fromkeys(text, "str"))


def verdicts(claims: pd.DataFrame) -> pd.DataFrame:
    """One row per scheme and claim: statement, test, the verdict over all layers, then a column per layer."""
    rows = []
    for (scheme, claim), part in claims.groupby(["scheme", "claim"], sort=False):
        found = part["verdict"].tolist()
        rows.append(
            {
                "scheme": scheme,
                "claim": claim,
                "type": part["type"].iloc[0],
                "statement": part["statement"].iloc[0],
                "verdict": _overall(found),
                "holds": found.count(HOLDS),
                "contradicted": found.count(CONTRADICTED),
                "undecided": found.count(UNDECIDED),
                "cannot_speak": found.count(CANNOT_SPEAK),
                "test": part["test"].iloc[0],
                "measure": part["measure"].iloc[0],
                **{row.sae: _cell(row) for row in part.itertuples()},
            }
        )
    return pd.DataFrame(rows)


def _overall(found: list[str]) -> str:
    speaking = [verdict for verdict in found if verdict in (HOLDS, CONTRADICTED, UNDECIDED)]
    if not speaking:
        return BY_DEFINITION if BY_DEFINITION in found else CANNOT_SPEAK
    sides = [verdict for verdict in (HOLDS, CONTRADICTED) if verdict in speaking]
    if len(sides) == 2:
        return MIXED
    if sides and 2 * speaking.count(sides[0]) > len(speaking):
        return sides[0]
    return UNDECIDED


def _cell(row: Any) -> str:
    """A layer's result in a few characters."""
    if row.verdict in (CANNOT_SPEAK, BY_DEFINITION):
        return f"{row.verdict} ({row.n_type})"
    interval = f"{row.effect:.3g} [{row.low:.3g}, {row.high:.3g}]"
    return f"{row.verdict}: {interval}, {row.value_type:.3g} vs {row.value_other:.3g}, n {row.n_type}"
