"""What the types are worth: the published claims tested, thresholds moved, planted types found again.

In: the tables of moments, types and enrichment; out: tables of verdicts, sensitivity and recovery. Uses every
room of the analysis before it.
"""
