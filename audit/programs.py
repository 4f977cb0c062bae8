"""Programs beside the command line: bad input becomes one sentence and an exit code, as it does there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from audit import exit_codes
from canaries.errors import InputError


def run_program(main: Callable[[], int | None]) -> NoReturn:
    """Run `main` and exit with what it returns, 0 for None.

    An InputError, or a file that cannot be read or written, is printed to standard error as one sentence, and the exit
    code is BAD_INPUT. Every other exception is a fault, and keeps its traceback.
    """
    try:
        sys.exit(main() or 0)
    except InputError as error:
        sentence = str(error)
    except OSError as error:
        sentence = f"Cannot read or write: {error}."
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(exit_codes.BAD_INPUT)
