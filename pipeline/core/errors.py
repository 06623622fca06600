"""The one error for input that cannot be used. Imports nothing: every package may raise it."""


class InputError(ValueError):
    """Input that cannot be used. The message is one sentence: what was found, where, and the way out."""
