"""Clusters of near copies among each SAE's decoder rows: the unit in which its features are independent."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

import numpy as np
import pandas as pd

from fsrl.stats import odds
from fsrl.tables import core as tables
from fsrl.tables.types import CLUSTERS
from fsrl.weights import matrices as weights

threshold = snakemake.params.threshold
for path, output in zip(snakemake.input.decoders, snakemake.output, strict=True):
    decoder = weights.read_decoder(path)
    clusters = odds.decoder_clusters(decoder.W_dec, threshold=threshold)
    frame = pd.DataFrame({"feature": np.arange(len(clusters), dtype=np.int32), "cluster": clusters})
    metadata = {**decoder.metadata, "sae": decoder.sae, "hook": decoder.hook, "threshold": str(threshold)}
    tables.write(frame, output, CLUSTERS, metadata)
