# SPDX-License-Identifier: GPL-2.0-only
"""QEMU moves a device without P2P, pre-copy and dirty tracking; see driver/test_offers.py."""

import struct

import pytest

from devices import nvme
from devices.nvme import ENABLED, IDENTIFY, OF_CONTROLLER, PAGE, Nvme
from lib.qemu import machine

pytestmark = pytest.mark.physical

QUEUES, WRITTEN = 0x100000, 0x110000
FILLED = 0x5A


@pytest.fixture(params=[nvme.FLR, nvme.BOTH])
def bdfs(request):
    with nvme.bound(request.param) as found:
        yield found


def identify(qtest, controller):
    """Has the enabled controller write a page by its first command."""
    command = struct.pack("<BBHIQQQQ", IDENTIFY, 0, 7, 0, 0, 0, WRITTEN, 0)
    qtest.write(QUEUES, command + struct.pack("<I", OF_CONTROLLER))
    controller.write32(nvme.DOORBELL, 1)
    controller.wait(lambda: qtest.read32(QUEUES + PAGE + 12) >> 16 & 1)


def test_a_guest_moves(bdfs, version, count):
    """What the device wrote during pre-copy arrives, although nobody has marked it."""
    with machine.machines() as started:
        source = machine.Machine(bdfs[:1], version)
        started.append(source)
        target = machine.Machine(bdfs[1:], version, incoming=True)
        started.append(target)
        source.enable()
        controller = Nvme(source.driver.function)
        controller.set_queues(QUEUES, QUEUES + PAGE)
        controller.write32(nvme.CONFIGURATION, ENABLED)
        controller.wait(lambda: controller.read32(nvme.STATUS) & 1)
        expected = controller.state()
        source.qtest.memset(WRITTEN, PAGE, FILLED)

        source.hold()
        source.migrate_to(target.listen())
        source.wait_sent()
        identify(source.qtest, controller)
        written = source.qtest.read(WRITTEN, PAGE)
        assert written[:2] == b"\x36\x1b" and written != bytes([FILLED]) * PAGE
        source.parameters(max_bandwidth=1 << 40, downtime_limit=60000)
        info = source.wait_end()
        target.wait_status()

        count(f"{version}: {info['ram']['dirty-sync-count']} rounds, {info['downtime']} ms down")
        assert Nvme(target.driver.function).state() == expected
        assert target.qtest.read(WRITTEN, PAGE) == written
