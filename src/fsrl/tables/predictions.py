"""Table of the predictions that were written down before the tables were seen, and of what became of them."""

from fsrl.tables.core import Column, Table

PREDICTIONS = Table(
    "predictions",
    {
        "prediction": Column("string", "1", "its name in the file of predictions"),
        "study": Column("string", "1", "the study that it is about"),
        "view": Column("string", "1", "the view whose tables judge it"),
        "kind": Column("string", "1", "value, label, quantile, count, share or trend"),
        "saes": Column("list<string>", "1", "the SAEs (or layers of neurons) that it reads, in its order"),
        "verdict": Column("string", "1", "held, failed or not run"),
        "expected": Column("string", "1", "what must be found for it to hold"),
        "found": Column("string", "1", "what was found; null where it was not run", nullable=True),
        "why_not": Column("string", "1", "why it was not run; null where it was", nullable=True),
        "reason": Column("string", "1", "why it was predicted"),
        "source": Column("string", "1", "where the reason or the numbers come from"),
        "model_sha256": Column(
            "string", "1", "hash of the model's weights that the tables name; null if none", nullable=True
        ),
        "sae_sha256": Column("list<string>", "1", "hashes of the SAEs' weights that the tables name"),
    },
)
