"""Which words the explanations of each type's features use more, or less, than those of other features."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json

from fsrl import files
from fsrl.explanations import local as explanations
from fsrl.explanations import words as explanation_words
from fsrl.tables import core as tables
from fsrl.tables.enrichment import BEST_SETS
from fsrl.tables.explanations import EXPLANATIONS, WORDS
from fsrl.tables.types import TYPES

given, params = snakemake.input, snakemake.params
layers = []
for number, sae in enumerate(params.sae_ids):
    explained = tables.read(given.explanations[number], EXPLANATIONS)
    types = tables.read(given.types[number], TYPES)
    clusters = None
    if given.best_sets:
        clusters = tables.read(given.best_sets[number], BEST_SETS)["cluster"].to_numpy()
    layers.append(
        explanation_words.of_layer(
            explained,
            types.loc[types["scheme"] == params.scheme, "type"].to_numpy(dtype=str),
            clusters,
            sae=sae,
            circular=bool((explained["source"] == explanations.LOCAL_SOURCE).all()),
            **params.settings,
        )
    )
words = explanation_words.of_study(layers)
metadata = tables.read_metadata(given.types[0])
for name in ("sae", "hook", "layer", "sae_sha256"):
    metadata.pop(name, None)
metadata |= {
    "scheme": params.scheme,
    "words": json.dumps(params.settings, sort_keys=True),
    "units": "clusters of similar decoder rows" if given.best_sets else "features",
}
tables.write(words, snakemake.output.words, WORDS, metadata)
with files.atomic_write(snakemake.output.tsv) as path:
    words.to_csv(path, sep="\t", index=False, float_format="%.4g")
