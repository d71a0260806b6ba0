"""The version of fsrl, alone: whoever does not print it does not depend on it."""

__version__ = "0.2.0"
