"""Results that others can load: a folder for the Hugging Face hub or Zenodo, and the RO-Crate of a run.

In: tables that are built; out: one parquet file a table over all layers and views, a card, Croissant
metadata, checksums, features and explanations in Neuronpedia's bulk layout, and a description of a run's
files with their hashes. Nothing here uploads anything. Uses tables, tokens and neuronpedia.
"""
