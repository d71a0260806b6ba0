"""What is added, how much of it, and what predicts the change: words of the tables, in the figures' order."""

# A feature's direction; a random one of its norm; one with its cosine with the stream at the site too; the
# feature's change against another feature's weights.
FEATURE, RANDOM, MATCHED, OTHER = DIRECTIONS = ("feature", "random", "matched", "other")
# Steps that are read: one unit, and the feature's own mean activation.
STEPS = ("+1", "+own")
# See `fsrl.effects.agreement`.
DIRECT, CORRECTED, TRANSPORTED, OWN_MEAN = PREDICTIONS = ("direct", "corrected", "transported", "own_mean")
ACTIVE, INACTIVE = STATES = ("active", "inactive")
# Directions whose changes have moments; ranks, which cost most, are taken of the feature's alone.
SHAPED = (FEATURE, MATCHED)
