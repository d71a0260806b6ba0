"""The numbers of the paper's prose: one macro each, made by one function from the tables that it names.

In: tables, the config's definitions, benchmarks; out: paper/generated/numbers.tex. Uses latex for how a
number is set.
"""
