"""A feature's dashboard as one HTML page that asks nobody for anything.

In: tables of one SAE (`facts`); out: HTML (`page`). Uses tables, tokens, and the figures' colours.
"""
