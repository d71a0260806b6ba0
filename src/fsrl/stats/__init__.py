"""Statistics of any numbers: quantiles, false discovery rates, comparisons of two groups, odds ratios.

In: arrays; out: arrays and small frames. Knows nothing of features beyond rows of a matrix.
"""
