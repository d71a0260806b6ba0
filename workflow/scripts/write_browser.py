"""A study's features as a static site."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

from fsrl.browser import reading, site

given, params = snakemake.input, snakemake.params
paths = {name: given.get(name, []) for name in params.tables}
said = site.Site(
    tokens=reading.tokens(given.tokens),
    sets=reading.sets_of(paths["enrichment"]),
    made=reading.made(paths["moments"][0]),
    **params.said,
)
site.write(said, reading.layers(said.saes, paths, given.shared_null), snakemake.output[0])
