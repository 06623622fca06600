"""InputError, the one error for unusable input. Imports nothing, so that every package may raise it."""


class InputError(ValueError):
    """Input that cannot be used. The message is one sentence: what was found, where, and the way out."""
