"""Feature types: tails beyond chance, the language of rules beside them, who is of which type, by chance too.

In: tables of moments and of null quantiles; out: types, counts beside those of chance, thresholds, a summary
by layer. Uses stats, tables and nulls.
"""
