"""Feature types: the language of their rules, what the bounds come to in a layer, who meets them.

In: tables of moments and nulls; out: types, counts beside those of chance, thresholds, a summary by layer.
Uses stats and tables.
"""
