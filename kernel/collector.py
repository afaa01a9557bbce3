"""When Python's garbage collector looks, in a process that serves requests."""

import gc


def settle() -> None:
    """Leave what was loaded so far to itself, and look through what requests made a tenth as often.

    What was loaded stays for good: going through it in the middle of a large request, a roster of ten thousand rows,
    took as long as reading the roster. What a request makes is gone at its end without the collector but for cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
