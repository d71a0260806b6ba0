"""Neuronpedia: its bulk exports, kept in a cache, its HTTP API, and addresses of its pages.

In: a model's and a source's name there; out: explanations and features by index. Uses models for the names.
"""
