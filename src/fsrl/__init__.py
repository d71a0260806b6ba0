"""fsrl: what a sparse autoencoder's features promote and suppress, read from their logit weights.

Nothing heavy is imported here: `import fsrl` costs milliseconds; import the module that you need.
"""

__version__ = "0.1.0"
