"""The one exception that a user is meant to read."""


class FsrlError(ValueError):
    """A mistake in what the user gave: one line that says what is wrong, where, and what to do.

    Jobs print that line and no traceback (see `fsrl.joblog`); any other exception is a fault of fsrl.
    """
