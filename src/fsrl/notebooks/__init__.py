"""How notebooks are set up, run by the workflow, and written as pages.

In: jupytext scripts; out: executed .ipynb and HTML. Uses the figures' style alone.
"""
