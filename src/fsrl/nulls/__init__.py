"""What chance gives: directions that mean nothing and their moments; tokens that training hardly saw.

In: W_U, and a layer's decoder rows or covariance; out: the table `null`. Uses weights, stats, moments.
"""
