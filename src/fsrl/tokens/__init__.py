"""The vocabulary: tokens as text, named sets of tokens, and the word lists behind them.

In: tokens as stored; out: readable text, the table `tokens`, boolean sets.
"""
