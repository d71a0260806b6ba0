"""The moments of W_dec @ W_U, row by row, exact and in constant memory.

In: two matrices (and readings of their product); out: mean, std, skewness, kurtosis, extreme tokens and
histograms (`engine`), and the tables made of them (`frames`). Uses weights and tables.
"""
