"""Constants of the analysis that the paper states too. Imports nothing: to state them nobody needs torch."""

# Tokens that a set must have, and leave out, to be tested (fsrl.enrichment).
SMALLEST_SET = 5
# Directions of each kind that a row's alignment with a set is held against (fsrl.enrichment.row_nulls).
SET_DRAWS = 20_000
# Tokens of the random sets that are drawn; between these, and beyond them, p is interpolated.
RANDOM_SET_SIZES = (5, 20)
# Of the second moment C of a layer's decoder rows (fsrl.enrichment.covariance). Enough to bound C^-1. Ledoit
# and Wolf's would be .02 to .26 on mini's layers, and lowers the variance of C where it is large: p of 1e-3
# then came up to 4 times too often for decoders drawn from N(0, C).
SHRINKAGE = 1e-3
# Two suffice: t of decoders drawn from N(0, C) has an sd of 1.007 to 1.009 (Student: 1.006), after none of
# 1.01 to 1.08, since scaling rows to length 1 makes C rounder than it is.
TYLER_STEPS = 2
# Decoder cosine from which on the nearest feature of another dictionary is a counterpart
# (fsrl.types.counterparts).
SHARED_COSINE = 0.7
