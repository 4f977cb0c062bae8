"""The one exception for a user's mistake: a sentence, never a traceback."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: the message is one sentence that names what was given, what is allowed, and where.

    The command line prints the message and exits with code 2.
    """
