"""Which features steer a model, and how their logit weights read where they fire.

In: a model, decoders, a text, prompts, the matrices of `fsrl.transport` where a study has them; out: tables
of `fsrl.tables.steering`, one for each SAE, and their summaries. Uses models, effects (the forward pass,
sites, encoders) and the tables; knows nothing of figures.
"""
