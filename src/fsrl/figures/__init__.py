"""All figures of the workflow. In: tables; out: Matplotlib figures, and PDF or PNG files (`files`).

Nothing is computed here that a table could hold, and no room but pages and analyzer may use it.
"""
