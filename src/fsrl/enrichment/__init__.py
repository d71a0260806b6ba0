"""Which token sets a feature promotes or suppresses, by a test that holds under null directions.

In: W_dec, W_U and boolean token sets; out: z, t, p, q, eta^2, signed scores and each feature's best sets.
Uses weights, stats, tables.
"""
