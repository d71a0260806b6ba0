"""The paper's headline numbers by a naive route: rows of parquet files, loops, sorted lists; no pandas, no
fsrl.
"""

import csv
from pathlib import Path

import pyarrow.parquet as pq

TYPES = ("local_context", "prediction", "suppression", "partition")


def rows(path: Path, *columns: str) -> list[dict]:
    return pq.read_table(path, columns=list(columns) or None).to_pylist()


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


class Naive:
    """One study under `results/{study}`, in one view and under one scheme."""

    def __init__(self, results: Path, study: str, saes: list[str], view: str, scheme: str) -> None:
        self.folder, self.saes, self.view, self.scheme = results / study, saes, view, scheme

    def layer(self, sae: str, table: str, *columns: str) -> list[dict]:
        return rows(self.folder / sae / self.view / f"{table}.parquet", *columns)

    def one(self, place: str, *columns: str) -> list[dict]:
        return rows(self.folder / place, *columns)

    def beyond(self, column: str, *, every: bool) -> dict[str, float]:
        """Share of each layer's features above the 0.999 quantile of the isotropic null, or of every kind."""
        shared = [row[column] for row in self.one(f"nulls/{self.view}.parquet", "kind", column)]
        found = {}
        for sae in self.saes:
            bounds = [quantile(shared, 0.999)]
            if every:
                draws = self.layer(sae, "null", "kind", column)
                for kind in {row["kind"] for row in draws}:
                    bounds.append(quantile([row[column] for row in draws if row["kind"] == kind], 0.999))
            values = [row[column] for row in self.layer(sae, "moments", column)]
            found[sae] = sum(value is not None and value > max(bounds) for value in values) / len(values)
        return found

    def labels(self) -> dict[str, dict[str, int]]:
        """SAE -> type -> features with that label."""
        found = {}
        for sae in self.saes:
            labels = [
                row["type"]
                for row in self.layer(sae, "types", "scheme", "type")
                if row["scheme"] == self.scheme
            ]
            found[sae] = {name: labels.count(name) for name in TYPES}
        return found

    def expected(self) -> float:
        """What chance gives at most, summed over types and layers."""
        total = 0.0
        for sae in self.saes:
            for row in self.layer(sae, "type_counts"):
                if row["scheme"] == self.scheme and row["type"] in TYPES:
                    total += row["expected"]
        return total

    def features(self) -> int:
        return sum(len(self.layer(sae, "moments", "feature")) for sae in self.saes)

    def right_skewed(self) -> dict[str, float]:
        found = {}
        for sae in self.saes:
            values = [row["skewness"] for row in self.layer(sae, "moments", "skewness")]
            found[sae] = sum(value is not None and value > 0 for value in values) / len(values)
        return found

    def left_out(self) -> int:
        return sum(row["trained"] is False for row in self.one("tokens.parquet", "trained"))

    def significant(self) -> tuple[int, int, int]:
        """Tests, promoted and suppressed pairs of all layers."""
        found = self.one(f"discoveries/{self.view}.parquet")
        return tuple(sum(row[name] for row in found) for name in ("tests", "promoted", "suppressed"))

    def family(self) -> int:
        """Claims that were tested at all."""
        return sum(row["p"] is not None for row in self.one(f"claims/{self.view}.parquet", "p"))

    def verdict(self, verdict: str) -> int:
        with (self.folder / f"claims/{self.view}.tsv").open(newline="") as file:
            found = csv.DictReader(file, delimiter="\t")
            return sum(row["scheme"] == self.scheme and row["verdict"] == verdict for row in found)

    def agreement(self, column: str) -> dict[str, float]:
        """Per layer, all types together, where the feature is active and one unit is added."""
        return {
            row["sae"]: row[column]
            for row in self.one("summary/effects_summary.parquet")
            if (row["type"], row["state"], row["step"]) == ("all", "active", "+1")
        }

    def worse_than_random(self) -> int:
        return sum(high < 0 for high in self.agreement("difference_high").values())

    def decided_by(self, kind: str) -> int:
        return sum(
            row["scheme"] == self.scheme and row["kind"] == kind
            for sae in self.saes
            for row in self.layer(sae, "thresholds", "scheme", "kind")
        )

    def members_at(self, factor: float, label: str) -> int:
        """Features that meet a type's rule with every null quantile's tail widened by the factor."""
        return sum(
            row["members"]
            for row in self.one(f"sensitivity/{self.view}.parquet")
            if (row["scheme"], row["column"], row["type"]) == (self.scheme, "null quantiles", label)
            and row["factor"] == factor
        )

    def pooled_precision(self, share: float) -> float:
        found = [
            row
            for row in self.one("planted/recovery.parquet")
            if row["scheme"] == self.scheme
            and row["population"] == "clear"
            and row["planted_share"] == share
            and row["planted"] > 0
        ]
        return sum(row["correct"] for row in found) / sum(row["labelled"] for row in found)
