"""Language models and SAEs, from the Hugging Face hub or folders, through TransformerLens and SAELens.

In: names and files; out: `Model`, `Unembedding`, `Decoder`, whole SAEs, activations, windows of text. The
only room of the workflow's path that imports the transformer libraries, and only when it reads a model or an
SAE.
"""
