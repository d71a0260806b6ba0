"""From a place of the residual stream to its end: the mean Jacobian of a model, at one and the same position.

In: a model, a text, names of hooks; out: `fsrl.weights.transport.Transport`, the matrices that a view with
`transport: same_position` applies to decoder rows and null directions. Uses models and the forward pass of
effects.
"""
