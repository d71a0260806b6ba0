"""Clusters of near copies among each SAE's decoder rows: the unit in which its features are independent."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=snakemake.threads)

import numpy as np
import pandas as pd

from fsrl import devices
from fsrl.stats import odds
from fsrl.tables import core as tables
from fsrl.tables.types import CLUSTERS
from fsrl.weights import matrices as weights

params = snakemake.params
device = devices.pick(params.device)
for path, output in zip(snakemake.input.decoders, snakemake.output, strict=True):
    decoder = weights.read_decoder(path, device)
    clusters = odds.decoder_clusters(decoder.W_dec, threshold=params.threshold)
    frame = pd.DataFrame({"feature": np.arange(len(clusters), dtype=np.int32), "cluster": clusters})
    metadata = {**decoder.metadata, "sae": decoder.sae, "hook": decoder.hook}
    metadata |= {"threshold": str(params.threshold), **devices.described(device)}
    tables.write(frame, output, CLUSTERS, metadata)
