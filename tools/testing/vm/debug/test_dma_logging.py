# SPDX-License-Identifier: GPL-2.0-only
"""DMA logging reports exactly the pages that the device wrote, and refuses wrong arguments."""

import errno
import struct

import pytest

from devices import edu
from devices.edu import BUFFER
from lib.errnos import refused
from lib.guest import Guest
from lib.libc import Pages
from lib.protocols import region_2018
from lib.protocols import region_v1 as v1
from lib.protocols import v2
from lib.protocols.dma_logging import PAGE, DmaLogging
from lib.vfio import DEVICE_FEATURE, FEATURE_GET, FEATURE_PROBE, FEATURE_SET

START, STOP, REPORT = v2.DMA_LOGGING_START, v2.DMA_LOGGING_STOP, v2.DMA_LOGGING_REPORT
EVERYWHERE = (0, 1 << 40)


@pytest.fixture
def logged(guest):
    """A device that logs, whose writes show in its memory."""
    guest.mark_writes()
    assert guest.log.start((guest.IOVA, guest.memory.size)) == PAGE
    return guest


def report(guest, page_size=PAGE):
    return guest.log.report(guest.IOVA, guest.memory.size, page_size)


@pytest.mark.writes_memory
def test_the_pages_told_are_the_pages_written(logged, rng):
    assert report(logged) == set()
    for written in logged.random_writes(rng):
        assert report(logged) == written
        assert report(logged) == set()


@pytest.mark.edu
def test_reads_of_the_device_are_not_told(logged):
    logged.edu.to_device(logged.IOVA, 64)
    assert report(logged) == set()


@pytest.mark.writes_memory
@pytest.mark.parametrize("page_size", [2 * PAGE, 16 * PAGE, 1 << 21, 1 << 30])
def test_in_pages_of_another_size(logged, page_size):
    places = (0, 3 * PAGE, 17 * PAGE, logged.memory.size - PAGE)
    for at in places:
        logged.write_memory(at, 8)
    found = logged.log.report(0, 1 << 30, page_size)
    assert found == {(logged.IOVA + at) // page_size * page_size for at in places}
    assert logged.log.report(0, 1 << 30, page_size) == set()


@pytest.mark.writes_memory
def test_a_part_is_told_and_the_rest_is_kept(logged):
    for page in (1, 2, 3):
        logged.write_memory(page * PAGE, 8)
    second = logged.IOVA + 2 * PAGE
    assert logged.log.report(second, PAGE) == {second}
    assert logged.log.report(second, PAGE) == set()
    assert report(logged) == {logged.IOVA + PAGE, logged.IOVA + 3 * PAGE}


@pytest.mark.writes_memory
@pytest.mark.parametrize("page_size", [PAGE, 16 * PAGE])
@pytest.mark.parametrize("begin, size, kept", [
    (0x800, PAGE, {0, 1, 2}),
    (0, PAGE + 0x800, {1, 2}),
    (0x800, 2 * PAGE, {0, 2}),
    (0x400, 0x400, {0, 1, 2}),
    (PAGE - 1, 2, {0, 1, 2}),
    (PAGE, PAGE, {0, 2}),
])
def test_a_page_of_which_a_part_is_told_is_kept(logged, page_size, begin, size, kept):
    """Its other part was not reported. The client's pages may be larger, and begin anywhere."""
    for page in range(3):
        logged.write_memory(page * PAGE, 8)
    bitmap = bytearray(8)
    logged.log.report(logged.IOVA + begin, size, page_size, bitmap=bitmap)
    assert int.from_bytes(bitmap, "little") == (1 << -(-size // page_size)) - 1
    assert report(logged) == {logged.IOVA + page * PAGE for page in kept}
    assert report(logged) == set()


@pytest.mark.writes_memory
def test_a_bitmap_gets_bits_and_loses_none(logged):
    logged.write_memory(5 * PAGE, 8)
    bitmap = bytearray(b"\x01" + bytes(39))
    logged.log.report(logged.IOVA, logged.memory.size, bitmap=bitmap)
    assert bitmap == b"\x21" + bytes(39)


@pytest.mark.writes_memory
def test_bits_behind_the_bitmap_are_left_alone(logged):
    for page in range(4):
        logged.write_memory(page * PAGE, 8)
    bitmap = bytearray(16)
    logged.log.report(logged.IOVA + PAGE, 2 * PAGE, bitmap=bitmap)
    assert bitmap == b"\x03" + bytes(15)
    assert report(logged) == {logged.IOVA, logged.IOVA + 3 * PAGE}


@pytest.mark.edu
def test_a_transfer_under_way_is_told_again(logged):
    page = logged.IOVA + 7 * PAGE
    for _ in range(20):
        logged.edu.start(BUFFER, page, 16, edu.TO_MEMORY)
        found = report(logged)
        if logged.edu.read64(edu.DMA_COMMAND) & edu.RUN:
            break
        report(logged)
    else:
        raise AssertionError("the machine is too slow for this test")
    assert found == {page}
    logged.edu.wait_transfer()
    assert report(logged) == {page}
    assert report(logged) == set()


@pytest.mark.writes_memory
def test_nothing_is_told_of_before_the_start(guest):
    guest.write_memory(0, 8)
    guest.log.start(EVERYWHERE)
    assert report(guest) == set()


@pytest.mark.writes_memory
def test_a_new_start_forgets_what_was(logged):
    logged.write_memory(0, 8)
    logged.log.stop()
    logged.log.start(EVERYWHERE)
    assert report(logged) == set()


def test_without_a_start_there_is_no_report(guest):
    with refused():
        report(guest)
    guest.log.stop()
    guest.log.start(EVERYWHERE)
    with refused(errno.EBUSY):
        guest.log.start(EVERYWHERE)
    assert report(guest) == set()
    guest.log.stop()
    guest.log.stop()
    with refused():
        report(guest)


@pytest.mark.writes_memory
def test_a_reset_ends_it(logged):
    logged.write_memory(0, 8)
    logged.device.reset()
    with refused():
        report(logged)
    logged.log.start(EVERYWHERE)
    assert report(logged) == set()


def test_a_close_ends_it(bdfs, space):
    with Guest(bdfs[0], space=space) as guest:
        DmaLogging(guest.device).start(EVERYWHERE)
    with Guest(bdfs[0]) as guest:
        with refused():
            DmaLogging(guest.device).report(0, PAGE)
        DmaLogging(guest.device).start(EVERYWHERE)


@pytest.mark.writes_memory
@pytest.mark.parametrize("page_size", [0, 1, 512, 2048, 5000, PAGE - 1])
def test_page_sizes_that_there_are_not(logged, page_size):
    logged.write_memory(0, 8)
    with refused():
        logged.device.feature(
            FEATURE_GET | REPORT, struct.pack("QQQQ", logged.IOVA, PAGE, page_size, 0)
        )
    assert report(logged) == {logged.IOVA}


@pytest.mark.parametrize("page_size", [512, PAGE, 1 << 21, 1 << 30])
def test_the_device_chooses_the_page_size(guest, page_size):
    """It is the device's own; the client may query in any other."""
    assert guest.log.start((0, 1 << 30), page_size=page_size) == PAGE


def test_ranges_that_there_are_not(guest):
    with refused():
        guest.log.start()
    with refused():
        guest.log.start((1, PAGE))
    with refused():
        guest.log.start((0, PAGE + 1))
    with refused():
        guest.log.start((0, 2 * PAGE), (PAGE, PAGE))
    with refused(errno.EOVERFLOW):
        guest.log.start(((1 << 64) - PAGE, 2 * PAGE))
    with refused(errno.E2BIG):
        guest.log.start(*[(at * PAGE, PAGE) for at in range(1 << 12)])
    with refused(errno.EFAULT):
        guest.device.feature(FEATURE_SET | START, struct.pack("QIIQ", PAGE, 1, 0, 8))
    # None of these has started logging.
    with refused():
        report(guest)
    guest.log.start((0, PAGE), (PAGE, PAGE), (1 << 50, 1 << 30))


@pytest.mark.writes_memory
def test_reports_that_there_are_not(logged):
    logged.write_memory(0, 8)
    with refused():
        logged.log.report(logged.IOVA, 0, bitmap=bytearray(8))
    with refused(errno.EOVERFLOW):
        logged.log.report((1 << 64) - PAGE, 2 * PAGE, bitmap=bytearray(8))
    assert report(logged) == {logged.IOVA}


@pytest.mark.writes_memory
@pytest.mark.parametrize("protection", [0, 1])
def test_a_bitmap_that_cannot_be_written(logged, protection):
    """The kernel tells neither the driver nor the client; the log stays right."""
    logged.write_memory(0, 8)
    with Pages(PAGE, protection) as pages:
        logged.log.report(logged.IOVA, PAGE, bitmap=pages.bad)
    logged.log.report(logged.IOVA, PAGE, bitmap=8)
    logged.write_memory(PAGE, 8)
    assert report(logged) == {logged.IOVA + PAGE}


def test_what_the_features_can_be_asked_for(guest):
    control = struct.pack("QIIQ", PAGE, 1, 0, 0)
    query = struct.pack("QQQQ", 0, PAGE, PAGE, 0)
    for number, operation, data in (
        (START, FEATURE_SET, control), (STOP, FEATURE_SET, b""), (REPORT, FEATURE_GET, query)
    ):
        assert guest.device.feature(number | operation | FEATURE_PROBE, data) == data
        other = FEATURE_GET if operation == FEATURE_SET else FEATURE_SET
        with refused():
            guest.device.feature(number | other | FEATURE_PROBE, data)
        with refused():
            guest.device.feature(number | other, data)
        with refused():
            guest.device.feature(number, data)
        if data:
            for size in (0, 7, len(data) - 1):
                argument = bytearray(struct.pack("II", 8 + size, number | operation) + data)
                with refused():
                    guest.device.ioctl(DEVICE_FEATURE, argument)
    # A probe starts nothing.
    with refused():
        report(guest)


@pytest.mark.writes_memory
def test_one_tracks_at_a_time(logged):
    """The table has one owner; the other protocols are refused."""
    logged.write_memory(0, 8)
    with refused(errno.EBUSY):
        logged.region.state = region_2018.SETUP
    assert report(logged) == {logged.IOVA}


@pytest.mark.writes_memory
@pytest.mark.parametrize("precopy", [False, True])
def test_an_image_is_saved_meanwhile(logged, precopy):
    """QEMU does it so: it logs from before the first round to after the last."""
    logged.write_memory(0, 8)
    image = logged.v2.save(precopy)
    assert report(logged) == {logged.IOVA}
    logged.log.stop()
    logged.v2.set(v2.RUNNING)
    logged.v2.load(image)
    assert logged.v1.state == v1.RUNNING
