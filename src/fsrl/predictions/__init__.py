"""What was predicted before the tables were seen, and whether it holds.

In: predictions as their file writes them, tables of moments and types; out: a table of verdicts. Uses the
words of the type rules and the tables.
"""
