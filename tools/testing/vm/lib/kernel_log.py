# SPDX-License-Identifier: GPL-2.0-only
"""The messages that the kernel logs while a test runs."""

import os
import time

# The limit of messages that a user can provoke about a device: 10 in 5 seconds (rust/vfio/log.rs).
BURST, INTERVAL = 10, 5


class KernelLog:
    """The messages since the creation of this object."""

    last = -2.0 * INTERVAL

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self.fd, 0, os.SEEK_END)

    def take(self):
        """Returns the messages that came since the last call."""
        messages = []
        while True:
            try:
                record = os.read(self.fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return messages
            messages.append(record.partition(";")[2].splitlines()[0])

    def close(self):
        os.close(self.fd)

    @classmethod
    def pace(cls):
        """Waits so that one rate-limited message after each call stays within the limit.

        The first call of a series waits until earlier messages no longer count. Within a series
        there is room for a few more, since an interval may begin with a late message.
        """
        since = time.monotonic() - cls.last
        if since > INTERVAL:
            cls.refill()
        else:
            time.sleep(max(0, 1.6 * INTERVAL / BURST - since))
        cls.last = time.monotonic()

    @staticmethod
    def refill():
        """Waits until the limit allows a whole burst again."""
        time.sleep(INTERVAL + 0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
