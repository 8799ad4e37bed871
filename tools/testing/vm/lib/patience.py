# SPDX-License-Identifier: GPL-2.0-only
"""How long operations may take: longer on a kernel that checks itself."""

import os
import time

#: The factor of every time limit; scripts/vm does the same with its own.
SLOWNESS = 4 if os.environ.get("RVFIO_KERNEL") == "debug" else 1


def wait_until(condition, seconds=20):
    """Waits until the condition returns something."""
    end = time.monotonic() + seconds * SLOWNESS
    while not condition():
        assert time.monotonic() < end, "the condition does not come true in time"
        time.sleep(0.005)
