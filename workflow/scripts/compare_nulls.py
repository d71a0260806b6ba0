"""Which null bounds the types beside isotropic directions? Planted axes, a study's first and last layer."""

from fsrl import joblog

joblog.to(snakemake.log[0], threads=1)

import json

from fsrl.claims import null_comparison
from fsrl.claims.null_comparison import Case
from fsrl.nulls import quantiles, typical
from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS, NULL_QUANTILES
from fsrl.tables.planted import NULL_COMPARISON
from fsrl.tables.tokens import TOKENS
from fsrl.types.rules import parse_scheme
from fsrl.weights import matrices as weights

given, params = snakemake.input, snakemake.params
seed, isotropic_draws = params.seed, {"draws": params.isotropic_draws, "seed": params.seed}
tokens = tables.read(given.tokens, TOKENS)["token"].tolist()
unembedding = weights.read_unembedding(given.unembedding)
known = quantiles.bounds(tables.read(given.null_quantiles, NULL_QUANTILES))
shared = known["isotropic"], typical.of_quantiles(known)


def cases():
    """One at a time."""
    yield null_comparison.one_axis(**isotropic_draws)
    yield null_comparison.many_axes(tokens, d_model=params.d_model, **isotropic_draws)
    for decoder, moments in zip(given.decoders, given.moments, strict=True):
        view = weights.view(weights.read_decoder(decoder), unembedding, **params.view)
        yield Case(
            tables.read_metadata(moments)["sae"], view.W_dec, view.W_U, tables.read(moments, MOMENTS), *shared
        )


scheme = parse_scheme(*params.scheme[0])
found = null_comparison.compare(cases(), scheme, draws=params.draws, seed=seed)
metadata = tables.read_metadata(given.tokens) | {
    "view": json.dumps(params.view, sort_keys=True),
    "isotropic_draws": str(params.isotropic_draws),
    "draws": str(params.draws),
    "seed": str(seed),
}
tables.write(found, snakemake.output[0], NULL_COMPARISON, metadata)
