"""A speed setting: keep freed memory instead of giving it back to the system after every large tensor."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Tell glibc to serve large blocks from the heap and not to shrink it; whether it could be told.

    Training with per-example gradients allocates and frees megabytes at every step, and half of its time can go to the
    system calls and page faults behind that. No result depends on it.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # Another C library, such as musl.
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
