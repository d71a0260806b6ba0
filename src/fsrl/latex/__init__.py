"""LaTeX: text and numbers escaped and set (`text`), tables of a study, and the PDF (`document`).

In: tables; out: .tex files and the compiled paper. Uses tables and types, no figures.
"""
