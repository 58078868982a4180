"""How the C library keeps memory."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt, in glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let this process keep the memory it has freed for its next tensors, until it ends.

    glibc takes blocks of more than 32 MB from the system one by one and gives them back at once;
    every new one is then paged in again, 4 KiB at a time, which can take longer than the
    convolution that fills it. A process so set holds on to its peak, which may come to lie up to
    twice as high while its blocks find their places.

    Returns:
        Whether that could be done; only glibc knows how.
    """
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_MMAP_MAX, 0)) and bool(
            ctypes.CDLL(None).mallopt(_TRIM_THRESHOLD, -1)
        )
    except (AttributeError, OSError):  # another C library
        return False
