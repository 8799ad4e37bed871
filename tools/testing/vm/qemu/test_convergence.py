# SPDX-License-Identifier: GPL-2.0-only
"""Memory that nobody writes is sent once, whatever the device has done.

A container without a single pinned page reports all of a guest's memory as dirty, each time.
"""

import pytest

from lib.qemu.machine import BALLAST, MIB, migrate

# Bytes of guest memory that are not zero, and bytes a second: all of it can be sent in a second.
FILLED = 16 * MIB
BANDWIDTH = 16 * MIB


@pytest.mark.writes_memory
@pytest.mark.parametrize("dma", [False, True], ids=["no DMA ever", "DMA before"])
def test_still_memory_is_sent_once(start, dma):
    source, target = start(0, memory=64 * MIB), start(1, incoming=True, memory=64 * MIB)
    if dma:
        source.enable()
        source.driver.write_memory(BALLAST)
    source.qtest.memset(BALLAST, FILLED, 0x5A)
    # The downtime limit, in ms, is far too short to send everything again.
    source.parameters(max_bandwidth=BANDWIDTH, downtime_limit=100)
    ram = migrate(source, target)["ram"]
    assert FILLED <= ram["normal-bytes"] < FILLED + 4 * MIB
    assert target.qtest.read(BALLAST + FILLED - 4096, 4096) == b"\x5a" * 4096
