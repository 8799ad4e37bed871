# SPDX-License-Identifier: GPL-2.0-only
"""The work that is left when the guest has stopped."""

import pytest

from devices.edu import BUFFER_SIZE
from lib.qemu import versions
from lib.qemu.machine import migrate
from lib.trace_events import trace

pytestmark = pytest.mark.edu


@pytest.fixture
def version():
    """QEMU 7.2's protocol has no switchover-ack."""
    return versions.QEMU_11


def test_the_buffer_is_loaded_before_the_guest_stops(source, target, bdfs, rng):
    """With switchover-ack QEMU waits until the target has loaded what is slow."""
    content = rng.randbytes(BUFFER_SIZE)
    source.driver.fill(content)
    for machine in (source, target):
        machine.capability("switchover-ack", True)
    with trace() as events:
        migrate(source, target)
        found = events()
    assert target.driver.buffer() == content

    stopped = found.first(bdfs[0], "state", "to=STOP_COPY")
    loaded = sum(
        event.number("bytes")
        for event in found[:stopped]
        if (event.name, event.bdf) == ("buffer", bdfs[1]) and event.text.startswith("load")
    )
    assert loaded > BUFFER_SIZE, found
    assert not found.private_dma(*bdfs, since=stopped), found
