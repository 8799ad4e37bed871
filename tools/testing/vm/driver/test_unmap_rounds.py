# SPDX-License-Identifier: GPL-2.0-only
"""How often type1 finds pages pinned in a mapping that it removes; the twelfth time stops the host.

A trace event reports each time.
"""

import contextlib
import os
import time
from collections import Counter

import pytest

from devices.edu import BUFFER, BUFFER_SIZE, DMA_COMMAND, RUN, TO_MEMORY, Edu
from lib.protocols import region_2018
from lib.protocols.region_2018 import PAGE
from lib.trace_events import INSTANCE
from lib.vfio import COMMAND_MASTER, Container, Device, Memory

pytestmark = [pytest.mark.edu, pytest.mark.container, pytest.mark.physical]

# The shortest time of a test, and the longest if nothing is found pinned until then.
SECONDS, PATIENCE = 8, 60

# A pin may have begun before the unmapping does. Unpinning may be put off a few times, while other
# threads hold the container's lock to map memory.
MOST_ROUNDS = 4

NEAR, FAR = 0, 4 << 30


class User(Device):
    """A device whose transfers reach no memory, and so none that is no longer mapped."""

    def __init__(self, bdf, space):
        super().__init__(bdf, space)
        self.enable(0, clear=COMMAND_MASTER)
        self.edu = Edu(self)
        self.region = region_2018.Region2018(self)

    def close(self):
        self.region.close()
        super().close()

    def transfer(self):
        """Makes the driver pin the pages of a transfer, when it begins and when it has ended."""
        if not self.edu.read64(DMA_COMMAND) & RUN:
            self.edu.start(BUFFER, NEAR + PAGE // 2, BUFFER_SIZE, TO_MEMORY)

    def toggle(self):
        """Makes the driver pin a page, as it may at the beginning of an image."""
        for state in (region_2018.SETUP, region_2018.PRECOPY, region_2018.CANCELLED):
            self.region.state = state


@contextlib.contextmanager
def counted(bdf):
    """Counts how often mappings are found pinned; each call of the value returns the new counts."""
    INSTANCE.mkdir()
    try:
        (INSTANCE / "events/rvfio/rvfio_unmap/enable").write_text("1", encoding="ascii")
        pipe = os.open(INSTANCE / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

        def rounds():
            text = b""
            with contextlib.suppress(BlockingIOError):
                while found := os.read(pipe, 1 << 16):
                    text += found
            return text.count(b" rvfio_unmap: %s iova=0x0 " % bdf.encode())

        try:
            yield rounds
        finally:
            os.close(pipe)
    finally:
        os.rmdir(INSTANCE)


@contextlib.contextmanager
def processes(works):
    """Runs each function over and over, in a process of its own, until the block ends."""
    pids = []
    try:
        for work in works:
            pid = os.fork()
            if not pid:
                try:
                    while True:
                        work()
                finally:
                    os._exit(1)
            pids.append(pid)
        yield
        for pid in pids:
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), "a part of the load has failed"
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, 9)
                os.waitpid(pid, 0)


@contextlib.contextmanager
def real_time():
    """Gives the caller priority over all other processes."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def keep_busy(space, memory):
    """Holds the container's lock for as long as mapping much memory takes."""
    space.map(memory.address, FAR, memory.size)
    space.unmap(FAR, memory.size)


@pytest.mark.parametrize("pin", (User.toggle, User.transfer))
def test_one_unmapping_is_not_kept_up(all_bdfs, count, pin):
    """Two containers have load and pins; in one of them memory is unmapped and mapped again."""
    # An image begins in no time and needs a processor for it; a transfer takes 100 ms.
    bdfs = all_bdfs[:2] if pin is User.toggle else all_bdfs
    near, far = Memory(16 * PAGE), Memory(640 << 20)
    spaces = Container(), Container()
    found = Counter()

    def done():
        return any(found) or pin is User.toggle

    with contextlib.ExitStack() as stack:
        users = [stack.enter_context(User(bdf, spaces[number == 1]))
                 for number, bdf in enumerate(bdfs)]
        for space in spaces:
            space.map(near.address, NEAR, near.size)
        rounds = stack.enter_context(counted(bdfs[0]))
        load = [lambda space=space: keep_busy(space, far) for space in spaces]
        load += [lambda user=user: pin(user) for user in users]
        with processes(load), real_time():
            begun = time.monotonic()
            while time.monotonic() < begun + (SECONDS if done() else PATIENCE):
                spaces[0].unmap(NEAR, near.size)
                found[rounds()] += 1
                assert max(found) <= MOST_ROUNDS, found
                spaces[0].map(near.address, NEAR, near.size)
        for user in users:
            user.edu.wait_transfer()
            assert user.edu.factorial(5) == 120
    count(f"unmapped {found.total()} times, found pinned so often each: {dict(found)}")
    assert done(), "nothing was ever pinned"
