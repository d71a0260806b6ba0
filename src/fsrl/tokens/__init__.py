"""The vocabulary: tokens as text, named sets of tokens, and the word lists behind them.

In: a tokenizer; out: its tokens in one spelling, readable text, the table `tokens`, boolean sets.
"""
