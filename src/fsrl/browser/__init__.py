"""A study as a static site: every feature in a plane and a table, and a page for each, opened as a file.

In: a study's tables; out: a folder with index.html and chunks of data that it loads when they are asked for.
Uses pages (the record of a feature and what draws it), tables, figures' colours and the addresses at
neuronpedia.
"""
