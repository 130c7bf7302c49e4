"""How a process that moves large bodies keeps its memory.

A body passes as pieces of a megabyte. The C library gives pieces of that size back to the system as soon as they are
freed, and the system fills every page of the next one with zeros: that costs more than the copy itself.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h of glibc, see mallopt(3)
_KEPT = 128 << 20
_LARGEST = 32 << 20  # the most that glibc accepts


def keep_arrow_memory() -> None:
    """Let Arrow allocate as all others do: its own allocator gives memory back between two queries."""
    import pyarrow  # noqa: PLC0415 - for a process that has it anyway

    pyarrow.set_memory_pool(pyarrow.system_memory_pool())


def keep_freed_memory() -> None:
    """Let this process use freed blocks of up to 32 MiB again, and keep up to 128 MiB of them; a no-op elsewhere."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _LARGEST)
