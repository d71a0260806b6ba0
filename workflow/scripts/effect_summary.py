"""Measured effects of a study by layer and type, and how predictions agree with them by layer."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl import files
from fsrl.effects import summary as effect_summary
from fsrl.tables import core as tables
from fsrl.tables.effects import AGREEMENT, BY_HOOK, EFFECTS, RETENTION, SUMMARY

given, params, output = snakemake.input, snakemake.params, snakemake.output
effects = {sae: tables.read(path, EFFECTS) for sae, path in zip(params.sae_ids, given.effects, strict=True)}
paths = zip(params.sae_ids, given.agreement, strict=True)
agreement = {sae: tables.read(path, AGREEMENT) for sae, path in paths}
summary = effect_summary.summarise(effects, agreement, seed=params.seed)
by_hook = effect_summary.by_hook(agreement, seed=params.seed)
metadata = tables.read_metadata(given.effects[0])
tables.write(summary, output.summary, SUMMARY, metadata)
tables.write(by_hook, output.by_hook, BY_HOOK, metadata)
tables.write(effect_summary.retention(effects), output.retention, RETENTION, metadata)
for frame, place in ((summary, output.tsv), (by_hook, output.by_hook_tsv)):
    with files.atomic_write(place) as path:
        frame.to_csv(path, sep="\t", index=False, float_format="%.4g")
