"""What features do in words: made from enrichment, compared by type, checked against published tokens.

In: tables and Neuronpedia's rows; out: tables of explanations, words and agreement. Uses tokens, stats.
"""
