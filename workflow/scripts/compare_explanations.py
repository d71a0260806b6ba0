"""Whether Neuronpedia's tokens and histograms agree with ours, and under which processing of W_U."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

import sys

import pandas as pd

from fsrl import files
from fsrl.explanations import agreement as explanation_agreement
from fsrl.neuronpedia import api as neuronpedia
from fsrl.tables import core as tables
from fsrl.tables.explanations import FITS, TOKEN_AGREEMENT
from fsrl.weights import matrices as weights
from fsrl.weights import provenance

given, output, params = snakemake.input, snakemake.output, snakemake.params
settings = params.settings
unembedding = weights.read_unembedding(given.unembedding)
compared, verdicts = [], []
for (sae, (model_id, source)), path in zip(params.places.items(), given.decoders, strict=True):
    decoder = weights.read_decoder(path)
    n_features = len(decoder.W_dec)
    sample = explanation_agreement.sample(n_features, settings["features"], seed=settings["seed"])
    rows = neuronpedia.features(
        model_id,
        source,
        only=sample,
        cache=params.cache,
        n_features=n_features,
        progress=sys.stderr.isatty(),
    )
    compared.append(explanation_agreement.compare(rows, decoder.W_dec, unembedding, sae=sae))
    verdicts.append(
        explanation_agreement.fits(
            compared[-1], sae=sae, sampled=len(sample), tolerance=settings["tolerance"]
        )
    )
study = snakemake.wildcards.study
metadata = provenance.metadata(unembedding, study=study, agreement=settings, places=params.places)
fits = pd.concat(verdicts, ignore_index=True)
agreement = pd.concat(compared, ignore_index=True)
tables.write(agreement, output.agreement, TOKEN_AGREEMENT, metadata)
tables.write(fits, output.fits, FITS, metadata)
with files.atomic_write(output.tsv) as path:
    fits.to_csv(path, sep="\t", index=False, float_format="%.4g")
