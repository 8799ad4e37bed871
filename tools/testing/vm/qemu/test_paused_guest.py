# SPDX-License-Identifier: GPL-2.0-only
"""Guests that are paused when they are saved, as libvirt's save and managedsave do it.

The device is stopped before the migration begins, so there is no pre-copy. QEMU goes on for as long
as the container reports dirty pages: for ever, if each query reports all memory.
"""

import pytest

from devices.chosen import DEVICE
from lib.modules import shown
from lib.qemu.machine import BALLAST, ENDED, FIRST_SLOT, MIB
from lib.qemu.pci import SLOTS, enable_port
from lib.qemu.vtd import OPTION, GuestIommu
from lib.vfio import is_virtual

MEMORY = 128 * MIB
# With as much, no address is free that a device of 28 bits reaches.
ALL_ADDRESSES = 256 * MIB
# Bytes of the memory that are not zero.
FILLED = 16 * MIB
# The limit of what else a save sends: 9 bytes for each zero page, the devices, repeated pages.
BESIDES = 8 * MIB
PAGE = 0x300000


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image"
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def filled(start):
    """Starts a guest with the first device and with memory that has content."""

    def start_one(memory=MEMORY, **options):
        machine = start(0, memory=memory, **options)
        machine.qtest.memset(BALLAST, FILLED, 0x5A)
        return machine

    return start_one


def check_save(machine, path):
    """Saves the guest with libvirt's bandwidth; asserts that non-zero memory is sent once."""

    def look():
        info = machine.migration()
        assert info.get("ram", {}).get("transferred", 0) < FILLED + BESIDES, info
        return info if info.get("status") in ENDED else None

    machine.parameters(max_bandwidth=(1 << 63) - 1, downtime_limit=300)
    machine.migrate_to_file(path)
    info = machine.wait(look, "the end of the save")
    assert info["status"] == "completed", info
    assert FILLED <= info["ram"]["normal-bytes"] < FILLED + 4 * MIB
    assert FILLED <= path.stat().st_size < FILLED + BESIDES


@pytest.mark.writes_memory
@pytest.mark.parametrize("has_dma", [False, True], ids=["no DMA ever", "DMA before"])
def test_paused_first(filled, image, rng, has_dma):
    source = filled()
    source.enable()
    if has_dma:
        source.driver.furnish(rng)
        source.driver.write_memory(PAGE)
    source.cmd("stop")
    check_save(source, image)


def test_paused_before_anything(filled, start, image):
    """The guest has not even set up its device; later it is paused again."""
    source = filled(memory=ALL_ADDRESSES)
    source.cmd("stop")
    check_save(source, image)
    source.close()

    target = start(1, incoming=True, memory=ALL_ADDRESSES)
    target.migrate_from_file(image)
    target.wait_status("paused")
    target.cmd("cont")
    target.wait_status()
    assert target.qtest.read(BALLAST + FILLED - 4096, 4096) == b"\x5a" * 4096
    target.enable()
    target.driver.works()


def test_never_started(filled, image):
    """The guest was started with `-S`."""
    source = filled(paused=True)
    check_save(source, image)
    assert source.status() == "postmigrate"


@pytest.fixture
def with_iommu(start, version):
    """Starts a guest with an IOMMU that is switched on."""

    def start_one(*devices):
        machine = start(
            *devices,
            system=("-machine", "q35", "-m", f"size={MEMORY}b", *version.processor(),
                    "-device", OPTION, "-device", f"pcie-root-port,id=below,addr={PORT:x}.0"),
        )
        machine.qtest.memset(BALLAST, FILLED, 0x5A)
        machine.iommu = GuestIommu(machine.qtest)
        machine.iommu.enable()
        return machine

    return start_one


# A port for devices that are plugged in.
PORT = 6
# A guest's kernel allocates addresses for a device of 28 bits from the end.
IOVA = (1 << 28) - FILLED


def test_a_guest_with_an_iommu(with_iommu, image):
    """All memory was mapped before the IOMMU was on; now little is, where the guest chose."""
    source = with_iommu(0)
    source.iommu.add(FIRST_SLOT)
    source.iommu.map(IOVA, BALLAST, FILLED)
    source.cmd("stop")
    check_save(source, image)


def test_a_device_for_a_guest_with_an_iommu(with_iommu, all_bdfs, image):
    """Nothing is mapped when the guest gets the device and when it begins to use it."""
    source = with_iommu()
    enable_port(source.qtest, PORT)
    source.plug(all_bdfs[0], "bus=below", "addr=0.0")
    driver = DEVICE.GuestDriver(source.qtest, SLOTS)
    driver.function.enable()
    driver.touch(5)
    assert driver.touched() == 5
    assert shown(all_bdfs[0]) == ("written" if is_virtual(all_bdfs[0]) else "everything")
    source.iommu.add(SLOTS)
    source.iommu.map(IOVA, BALLAST, FILLED)
    source.cmd("stop")
    assert shown(all_bdfs[0]) == "written"
    check_save(source, image)
