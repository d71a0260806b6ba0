"""How the embedded study was made: corpus, tokenizer, language model, SAEs, and what they reach.

In: Debian packages; out: data/mini. Imported by nobody else.
"""
