"""Are planted types found again, in worlds that no setting was chosen on? Recall and precision, and bounds.

    python benchmarks/planted.py                                         # mini's vocabulary size, strength 6
    python benchmarks/planted.py --tokens 50257 --strength 8 --seeds 0 1 2
    python benchmarks/planted.py --tokens 20000 --d-model 256 --features 3000 --seeds 11 12 --output FILE.json

A made-up vocabulary of any size, a made-up W_U and planted decoders (`fsrl.claims.planted`), one world a
seed, counted together; types by the config's default scheme. Every plant counts; partitions are those of a
quarter of the vocabulary or more (the population `even`), and what `even` would give the other types is shown
beside. Exits with 1 where a bound is missed. About 20 s of one core a world of 50257 tokens.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from fsrl.claims import planted, recovery
from fsrl.types.rules import ORDER, TailScheme, parse_scheme

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
# Least recall and precision of each type.
BOUNDS = {
    "local_context": (0.60, 0.75),
    "prediction": (0.90, 0.80),
    "suppression": (0.80, 0.75),
    "partition": (0.60, 0.90),
}
LETTERS = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))


def main() -> None:
    """Print the table; exit with 1 where a bound is missed."""
    settings = CONFIG["planted"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--strength", type=float, default=6.0, help="standard deviations")
    parser.add_argument("--share", type=float, default=0.05, help="of the features, planted with each type")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--features", type=int, default=settings["features"])
    parser.add_argument("--draws", type=int, default=settings["draws"], help="of each bounding null")
    parser.add_argument("--d-model", type=int, default=settings["d_model"])
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    asked = parser.parse_args()
    counts = pd.concat([of_world(asked, seed) for seed in asked.seeds])
    rows = [judged(counts, name) for name in ORDER]
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format))
    if asked.output is not None:
        given = {name: value for name, value in vars(asked).items() if name != "output"}
        asked.output.write_text(json.dumps(given | {"types": rows}, indent=1) + "\n")
    sys.exit(0 if all(row["met"] for row in rows) else 1)


def of_world(asked: argparse.Namespace, seed: int) -> pd.DataFrame:
    """The table `recovery` of one world."""
    where = planted.world(words(asked.tokens), d_model=asked.d_model, seed=seed)
    settings = {"strengths": [asked.strength], "planted_shares": [asked.share]}
    settings |= {"features": asked.features, "draws": asked.draws, "seed": seed}
    return recovery.sweep(where, [scheme()], **settings)[0]


def scheme() -> TailScheme:
    """The config's default scheme."""
    name = CONFIG["types"]["default_scheme"]
    found = parse_scheme(name, CONFIG["types"]["schemes"][name])
    if not isinstance(found, TailScheme):
        sys.exit(
            f"types.default_scheme is {name}, a scheme of rules; the bounds are those of a scheme of tails"
        )
    return found


def words(number: int) -> list[str]:
    """A vocabulary: random words of 2 to 7 letters, three in five with a space before them."""
    generator = np.random.default_rng([7, number])
    found: dict[str, None] = {}
    while len(found) < number:
        letters = LETTERS[generator.integers(0, len(LETTERS), generator.integers(2, 8))]
        found["Ġ" * int(generator.random() < 0.6) + "".join(letters)] = None
    return list(found)


def judged(counts: pd.DataFrame, name: str) -> dict[str, Any]:
    """Recall and precision of a type over the worlds, against its bounds."""
    at = counts[counts["type"] == name].groupby("population")[["planted", "labelled", "correct", "two_sided"]]
    sums = at.sum()
    row = sums.loc["even" if name == "partition" else "all"]
    recall, precision = row["correct"] / row["planted"], row["correct"] / max(row["labelled"], 1)
    even = sums.loc["even", "correct"] / max(sums.loc["even", "labelled"], 1)
    least_recall, least_precision = BOUNDS[name]
    return {
        "type": name,
        "planted": int(row["planted"]),
        "recall": float(recall),
        "at least": least_recall,
        "precision": float(precision),
        "at_least": least_precision,
        "even precision": float(even),
        "two_sided": int(row["two_sided"]),
        "met": bool(recall >= least_recall and precision >= least_precision),
    }


if __name__ == "__main__":
    main()
