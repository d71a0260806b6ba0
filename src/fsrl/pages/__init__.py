"""What is known of one feature, and the page that shows it: in a study's browser, in a notebook, as a file.

In: rows of an SAE's tables (`facts`, `sets`); out: the record that a script draws (`record`; the script is in
`renderer`), and the page alone (`page`). Uses tables, tokens, and the figures' colours.
"""
