"""The one exception for a user's mistake: a sentence, never a traceback."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: the message is one sentence that names what was given, what is allowed, and where.

    The command line prints the message and exits with code 2.
    """


def said(error: BaseException) -> str:
    """What another package's error says, on one line of 300 characters or less, without a full stop."""
    return " ".join(str(error).split())[:300].rstrip(".")
