"""A frozen SAE with a trainable adapter (`adapter`), spliced into a language model (`hooked_model`).

In: SAELens' SAEs and TransformerLens' models; out: torch modules for notebooks. Uses models.
"""
