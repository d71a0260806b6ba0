"""The matrices that everything rests on, as plain safetensors: W_U with its tokens, W_dec with its densities.

In: nothing but files. Out: `Unembedding`, `Decoder`, what a view makes of both (`matrices`), covariances of
activations (`covariances`), and the metadata that every table carries (`provenance`). Knows no model library.
"""
