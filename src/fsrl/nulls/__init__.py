"""What chance gives: directions that mean nothing and their moments; tokens that training hardly saw.

In: W_U, and a layer's decoder rows; out: the table `null`, and the few quantiles of it that
types are judged by. Uses weights, stats, moments, tables.
"""
