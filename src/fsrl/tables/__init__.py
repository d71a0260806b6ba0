"""What every parquet table holds: columns, dtypes, units, and how a table is read and written (`core`).

One module of specifications for each subject. In: frames; out: files that are whole, checked, and carry their
provenance. Uses the types' and nulls' names alone.
"""
