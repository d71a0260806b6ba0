"""`SAEfeatureAnalyzer`: a notebook's face to explanations, dashboards, moments and figures of one SAE.

In: a `HookedModel`; out: frames, pages, figures. Uses every other room but mini, numbers and latex.
"""
