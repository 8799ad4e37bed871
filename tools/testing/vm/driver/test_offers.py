# SPDX-License-Identifier: GPL-2.0-only
"""A device without P2P, pre-copy and dirty tracking, whose function can be reset.

The drivers are those of tools/testing/nvme. They count their resets.
"""

import contextlib
import errno
import json
import struct
import subprocess

import pytest

from devices import nvme
from devices.nvme import BOTH, FLR, PAGE, Nvme
from lib import modules
from lib.errnos import refused
from lib.patience import SLOWNESS
from lib.protocols import region_2018
from lib.protocols import region_v1 as v1
from lib.protocols import v2
from lib.protocols.region_2018 import Region2018
from lib.protocols.region_v1 import RegionV1
from lib.protocols.v2 import MigrationV2
from lib.resets import reset_by_others
from lib.vfio import (
    BAR0_REGION,
    CONFIG_REGION,
    DEVICE_GET_IRQ_INFO,
    FEATURE_PROBE,
    INTX,
    MSIX,
    Device,
    EventFd,
    Memory,
)

pytestmark = pytest.mark.physical

IOVA, PAGES = 16 << 20, 64
EVERY = set(range(PAGES))
EXPRESS, DEVICE_CONTROL, START_RESET = 0x10, 8, 1 << 15

CLIENTS = {"region_2018": Region2018, "region_v1": RegionV1, "v2": MigrationV2}


@pytest.fixture(params=[FLR, BOTH])
def driver(request):
    return request.param


@pytest.fixture
def bdfs(driver):
    """Two controllers that the driver has."""
    with nvme.bound(driver) as found:
        yield found


class Open:
    """An open controller with memory."""

    def __init__(self, bdf):
        self.stack = contextlib.ExitStack()
        self.device = Device(bdf)
        self.stack.callback(self.device.close)
        self.memory = Memory(PAGES * PAGE)
        self.device.map(self.memory, IOVA)
        self.nvme = Nvme(self.device)

    def set_up(self):
        self.nvme.set_queues(IOVA, IOVA + PAGE)
        return self.nvme.state()

    def write_page(self, page):
        self.set_up()
        self.nvme.enable()
        self.nvme.identify(self.memory, IOVA, page)

    def container(self):
        """Returns the numbers of the pages that the container reports."""
        bitmap = bytearray(PAGES // 8)
        self.device.dirty_bitmap(IOVA, bitmap)
        return numbers(region_2018.pages_of(bitmap, IOVA, PAGES))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def client(self, protocol):
        """Returns a client of a protocol, which is closed with the device."""
        client = CLIENTS[protocol](self.device)
        if protocol != "v2":
            # A mapping would keep the device open.
            self.stack.callback(client.close)
        return client


def numbers(addresses):
    return {(address - IOVA) // PAGE for address in addresses}


@pytest.fixture
def one(bdfs):
    with Open(bdfs[0]) as opened:
        yield opened


def test_the_states_of_v2(one):
    client = one.client("v2")
    assert client.flags() == 1
    for state in (v2.PRE_COPY, v2.PRE_COPY_P2P, v2.RUNNING_P2P):
        with refused(errno.EINVAL):
            client.set(state)
        assert client.state == v2.RUNNING
    for before in (v2.STOP, v2.STOP_COPY, v2.RESUMING):
        with client.set(before) or contextlib.nullcontext():
            with refused(errno.EINVAL):
                client.set(v2.RUNNING_P2P)
            assert client.state == before
            one.device.reset()


def test_dma_logging_is_not_offered(one):
    for feature in (v2.DMA_LOGGING_START, v2.DMA_LOGGING_STOP, v2.DMA_LOGGING_REPORT):
        with refused(errno.ENOTTY):
            one.device.feature(FEATURE_PROBE | feature)


@pytest.mark.parametrize("protocol", CLIENTS)
def test_an_image_moves(bdfs, protocol):
    """Also with the pre-copy that both regions begin with."""
    with Open(bdfs[0]) as source, Open(bdfs[1]) as target:
        expected = source.set_up()
        precopy = {} if protocol != "v2" else {"precopy": False}
        image = source.client(protocol).save(**precopy)
        assert target.nvme.state() == (0, 0, 0, 0)
        target.client(protocol).load(image)
        assert target.nvme.state() == expected
        # The controller works.
        target.nvme.enable()
        target.nvme.identify(target.memory, IOVA, 9)


def test_precopy_of_the_region_of_2018(one):
    region = one.client("region_2018")
    one.set_up()
    for state in (region_2018.SETUP, region_2018.PRECOPY):
        region.state = state
        assert region.state == state
        with refused(errno.EBUSY):
            one.client("v2").set(v2.STOP)
    precopy, compatible, stopped = region.pending()
    assert (precopy, compatible) == (0, 0)
    assert stopped > 24
    assert region.drain() == b""
    # The device runs.
    one.write_page(9)
    region.state = region_2018.CANCELLED
    assert region.state == region_2018.RUNNING
    one.client("v2").save(precopy=False)


def test_precopy_of_region_v1(one):
    region = one.client("region_v1")
    one.set_up()
    region.state = v1.PRE_COPY
    assert region.state == v1.PRE_COPY
    with refused(errno.EBUSY):
        one.client("v2").set(v2.STOP)
    assert region.drain() == b""
    one.write_page(9)
    region.state = v1.RUNNING
    assert region.state == v1.RUNNING
    one.client("v2").save(precopy=False)


def test_every_page_is_dirty_in_the_region_of_2018(one):
    region = one.client("region_2018")
    region.state = region_2018.SETUP
    for state in (None, region_2018.PRECOPY, region_2018.STOPNCOPY):
        if state is not None:
            region.state = state
        for _ in range(2):
            assert numbers(region.dirty(IOVA, PAGES)) == EVERY
            # As many pages as the data section takes, mapped or not.
            region.set(region_2018.START_ADDR, 0)
            region.set(region_2018.TOTAL, 1 << 40)
            copied = region.get(region_2018.COPIED)
            assert copied == 8 * region.data_size
            assert region.data_read(copied // 8) == b"\xff" * region.data_size
            region.pending()
    image = region.drain()
    assert len(image) > 24


@pytest.mark.container
def test_every_page_is_dirty_in_the_container(one, bdfs, driver):
    """Whatever the client does, and whatever the device writes."""
    one.device.dirty_pages(True)
    client = one.client("v2")
    files = []
    steps = {
        "write": lambda: one.write_page(9),
        "reset": one.device.reset,
        "size": client.data_size,
        "region_v1": lambda: one.client("region_v1").save(),
        "run": lambda: setattr(one.client("region_v1"), "state", v1.RUNNING),
        "stop": lambda: client.set(v2.STOP),
        "stop-copy": lambda: files.append(client.set(v2.STOP_COPY)),
    }
    for name, step in steps.items():
        step()
        for _ in range(2):
            assert one.container() == EVERY, name
    for file in files:
        file.close()
    assert shown(driver, bdfs[0]) == "everything"


def shown(driver, bdf):
    with open(f"/sys/kernel/debug/{driver}/{bdf}/migration", encoding="ascii") as file:
        return dict(line.split(": ", 1) for line in file.read().splitlines())["container_dirty"]


@pytest.mark.container
def test_the_kernel_log_says_it_once_for_each_user(bdfs, log):
    def about():
        return [line for line in log.take() if "does not record what the device writes" in line]

    for _ in range(2):
        with Open(bdfs[0]) as one:
            one.write_page(9)
            assert not about()
            for _ in range(2):
                one.client("v2").save(precopy=False)
                one.client("v2").set(v2.RUNNING)
            (line,) = about()
            assert bdfs[0] in line


def irq_count(device, index):
    data = bytearray(struct.pack("IIII", 16, 0, index, 0))
    device.ioctl(DEVICE_GET_IRQ_INFO, data)
    return struct.unpack("IIII", data)[3]


@pytest.mark.parametrize("index", [INTX, MSIX])
def test_interrupts_that_the_function_has(bdfs, index):
    """They come after a load and after a reset of the function; an edu has INTx and MSI."""
    with Open(bdfs[0]) as one:
        assert irq_count(one.device, INTX) == 1
        assert irq_count(one.device, MSIX) > 1
        # Its table is in the trapped BAR, and out of the user's and the driver's reach.
        assert one.device.read(BAR0_REGION, 0x2000, 16) == bytes([0xFF] * 16)
        image = one.client("v2").save(precopy=False)
        one.client("v2").set(v2.RUNNING)
        for step in (lambda: None, lambda: one.client("v2").load(image), one.device.reset):
            step()
            with EventFd() as event:
                one.device.set_irq(index, event.fd)
                one.memory.bytes[: 2 * PAGE] = bytes(2 * PAGE)
                one.write_page(9)
                one.nvme.wait(event.take)
                one.device.clear_irq(index)
            one.device.reset()


def count_of(one, action):
    """Returns how many resets of the driver an action causes, and how many after the function's."""
    before = one.nvme.resets()
    action()
    # What is left to catch up with is done by the first of these.
    one.nvme.state()
    after = one.nvme.resets()
    return tuple(new - old for old, new in zip(before, after))


def test_a_reset_resets_the_function_and_scrubs_it(one):
    for _ in range(3):
        one.write_page(9)
        one.memory.bytes[: 2 * PAGE] = bytes(2 * PAGE)
        assert count_of(one, one.device.reset) == (1, 1)
        # The function's reset leaves the queues' registers.
        assert one.nvme.state() == (0, 0, 0, 0)


def test_a_reset_in_every_state(one):
    client = one.client("v2")
    for state in (v2.RUNNING, v2.STOP, v2.STOP_COPY, v2.RESUMING):
        with client.set(state) or contextlib.nullcontext() as file:
            assert count_of(one, one.device.reset) == (1, 1)
            assert client.state == v2.RUNNING
            if file:
                file.is_dead()


def test_a_reset_by_others(one, bdfs):
    one.set_up()
    assert count_of(one, lambda: reset_by_others(bdfs[0])) == (1, 1)
    assert one.nvme.state() == (0, 0, 0, 0)


def test_a_reset_by_the_guest(one):
    """By its PCI Express capability."""
    one.set_up()
    read = one.device.read
    at = read(CONFIG_REGION, 0x34, 1)[0]
    while read(CONFIG_REGION, at, 1)[0] != EXPRESS:
        at = read(CONFIG_REGION, at + 1, 1)[0]
    place = at + DEVICE_CONTROL
    (control,) = struct.unpack("H", read(CONFIG_REGION, place, 2))

    def start():
        one.device.write(CONFIG_REGION, place, struct.pack("H", control | START_RESET))

    assert count_of(one, start) == (1, 1)
    assert one.nvme.state() == (0, 0, 0, 0)


def test_the_open_scrubs_after_vfio_pcis_reset(bdfs):
    with Open(bdfs[0]) as one:
        one.write_page(9)
        before = one.nvme.resets()
    with Open(bdfs[0]) as one:
        after = one.nvme.resets()
        # The close, whose reset comes before vfio-pci's, and the open.
        assert tuple(new - old for old, new in zip(before, after)) == (2, 1)
        assert one.nvme.state() == (0, 0, 0, 0)


def test_a_load_resets_the_function_if_the_driver_cannot(one, driver):
    image = one.client("v2").save(precopy=False)
    one.device.reset()
    client = one.client("v2")
    once = (1, 1 if driver == FLR else 0)
    assert count_of(one, lambda: client.load(image)) == once

    def refuse():
        with refused(errno.EINVAL), client.set(v2.RESUMING) as file:
            file.write(b"damaged" * 64)

    # Before the load, and because it is refused.
    assert count_of(one, refuse) == (2 * once[0], 2 * once[1])


def test_a_function_that_cannot_be_reset(bdfs, driver):
    """Its driver needs it or not."""
    path = f"/sys/bus/pci/devices/{bdfs[0]}/reset_method"
    with open(path, encoding="ascii") as file:
        methods = file.read()
    with open(path, "w", encoding="ascii") as file:
        file.write("\n")
    try:
        if driver == FLR:
            with refused(errno.ENOTTY):
                Device(bdfs[0])
        else:
            with Open(bdfs[0]) as one:
                one.set_up()
                assert count_of(one, one.device.reset) == (1, 0)
                assert one.nvme.state() == (0, 0, 0, 0)
    finally:
        with open(path, "w", encoding="ascii") as file:
            file.write(methods)
    with Open(bdfs[0]) as one:
        assert count_of(one, one.device.reset) == (1, 1)


@pytest.mark.parametrize("driver", [FLR], indirect=True)
def test_the_conformance_suite(vfio_migrate, bdfs, driver, count):
    result = subprocess.run(
        [vfio_migrate, "check", bdfs[0], "--to", bdfs[1], "--json"],
        capture_output=True,
        text=True,
        timeout=280 * SLOWNESS,
        check=False,
    )
    report = json.loads(result.stdout)
    count(f"vfio-migrate check, {driver}: {report['passed']} passed, {report['failed']} failed")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert report["failed"] == 0


def test_vfio_migrate_moves_it(vfio_migrate, bdfs, tmp_path):
    for command, option, bdf in (("save", "-o", bdfs[0]), ("restore", "-i", bdfs[1])):
        status, output = modules.run(vfio_migrate, command, bdf, option, tmp_path / "image")
        assert status == 0, output
