"""What adding a feature to the residual stream really does to the logits, beside its logit weights.

In: a model, decoders, a text, tables of moments and types; out: the tables `effects`, `effect_summary`,
`effect_retention`. Uses models, moments, types.
"""
