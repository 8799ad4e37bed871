# SPDX-License-Identifier: GPL-2.0-only
"""Loading and unloading the modules, binding and unbinding devices."""

import errno
import os
import pathlib
import threading
import time

import pytest

from devices import edu
from devices.edu import BUFFER_SIZE
from lib import mediated, modules
from lib.clone import CLONE
from lib.errnos import refused
from lib.guest import Guest
from lib.patience import wait_until
from lib.protocols import region_2018
from lib.vfio import EventFd

DEBUGFS = pathlib.Path("/sys/kernel/debug") / modules.DRIVER

# VFIO_PCI_REQ_IRQ_INDEX: the driver asks the client to give the device back.
REQUEST = 4


@pytest.fixture
def unloaded(bdfs):
    """No module of ours is loaded; they are loaded again after the test."""
    for bdf in bdfs:
        modules.unbind(bdf)
    modules.unload()
    yield bdfs
    if modules.is_loaded():
        for bdf in bdfs:
            if modules.driver_of(bdf):
                modules.unbind(bdf)
        modules.unload()
    modules.load()
    for bdf in bdfs:
        modules.bind(bdf)


@pytest.mark.edu
def test_unloading_a_module_in_use_is_refused(bdfs, guest):
    guest.touch(0)
    for module in (modules.DRIVER, "rvfio"):
        status, output = modules.run("rmmod", module)
        assert status != 0
        assert "in use" in output
    status, output = modules.run("modprobe", "-r", modules.DRIVER)
    assert status != 0
    assert guest.edu.read32(edu.LIVENESS) == 0xFFFFFFFF
    guest.works()


def test_the_library_is_held_by_the_driver(bdfs):
    status, output = modules.run("rmmod", "rvfio")
    assert status != 0
    assert "in use by" in output and modules.DRIVER in output


@pytest.mark.parametrize("name", ["migration", "dirty"])
def test_a_file_of_debugfs(bdfs, name):
    """Its functions are the module's, which stays while the file is open; the device may go."""
    with open(DEBUGFS / bdfs[0] / name, "rb", buffering=0) as shown:
        assert shown.read()
        status, output = modules.run("rmmod", modules.DRIVER)
        assert status != 0 and "in use" in output
        os.lseek(shown.fileno(), 0, os.SEEK_SET)
        assert shown.read()
        modules.unbind(bdfs[0])
        with refused(errno.EIO):
            shown.read()
        modules.bind(bdfs[0])
        with refused(errno.EIO):
            shown.read()
    with Guest(bdfs[0]) as guest:
        guest.works()


def test_unloading_takes_the_driver_from_its_devices(bdfs):
    modules.unload()
    assert not modules.is_loaded() and not modules.is_loaded("rvfio")
    assert [modules.driver_of(bdf) for bdf in bdfs] == [None, None]
    assert not any(os.path.exists(f"/sys/bus/pci/devices/{bdf}/vfio-dev") for bdf in bdfs)
    modules.load()
    for bdf in bdfs:
        modules.bind(bdf)
        with Guest(bdf) as guest:
            guest.works()


def test_modprobe_finds_the_library(unloaded):
    assert not modules.is_loaded("rvfio")
    modules.load()
    assert modules.is_loaded("rvfio") and modules.is_loaded()
    status, output = modules.run("modinfo", "-F", "depends", modules.DRIVER)
    assert (status, "rvfio" in output.strip().split(",")) == (0, True)


@pytest.mark.physical
def test_insmod_of_the_two_files(unloaded):
    paths = []
    for module in ("rvfio", modules.DRIVER):
        status, path = modules.run("modinfo", "-n", module)
        assert status == 0, path
        paths.append(path.strip())
    # The driver cannot be loaded without its library, and leaves nothing.
    status, output = modules.run("insmod", paths[1])
    assert status != 0 and "Unknown symbol" in output
    assert modules.run("modprobe", "-a", "vfio-pci-core", "vfio_iommu_type1")[0] == 0
    for path in paths:
        status, output = modules.run("insmod", path)
        assert status == 0, output
    for bdf in unloaded:
        modules.bind(bdf)
        with Guest(bdf) as guest:
            guest.works()


def modinfo(field, module=modules.DRIVER):
    status, output = modules.run("modinfo", "-F", field, module)
    assert status == 0
    return output.strip().splitlines()


@pytest.mark.edu
@pytest.mark.physical
def test_modinfo():
    assert modinfo("alias")[0].startswith("vfio_pci:v00001234d000011E8")
    assert len(modinfo("alias")) == 1
    for module in ("rvfio", modules.DRIVER):
        assert modinfo("license", module) == ["GPL"]
        assert modinfo("description", module)[0]
    parameters = dict(line.split(":", 1) for line in modinfo("parm"))
    assert set(parameters) >= {"data_section_kib", "dma_mask_bits", "quiesce_timeout_ms"}
    assert all("default" in text for text in parameters.values())


@pytest.mark.physical
def test_the_driver_takes_no_device_by_itself(unloaded):
    """The alias is for VFIO's tools; without driver_override nothing is bound."""
    for bdf in unloaded:
        with open(f"/sys/bus/pci/devices/{bdf}/driver_override", "w", encoding="ascii") as file:
            file.write("\n")
    modules.load()
    assert [modules.driver_of(bdf) for bdf in unloaded] == [None, None]


@pytest.mark.edu
@pytest.mark.parametrize("name, values", [
    ("data_section_kib", (0, 3, 5, 65540, 4294967295)),
    pytest.param("dma_mask_bits", (0, 12, 65, 255), marks=pytest.mark.edu),
    pytest.param("quiesce_timeout_ms", (0, 199, 60001, 4294967295), marks=pytest.mark.edu),
])
def test_parameters_out_of_range(unloaded, log, name, values):
    for value in values:
        log.take()
        status, output = modules.run("modprobe", modules.DRIVER, f"{name}={value}")
        assert status != 0, value
        assert "Invalid argument" in output
        assert any(name in line and "must be" in line for line in log.take())
        assert not modules.is_loaded()


@pytest.mark.edu
@pytest.mark.parametrize("name, value", [
    ("data_section_kib", "many"),
    pytest.param("dma_mask_bits", "-1", marks=pytest.mark.edu),
    pytest.param("quiesce_timeout_ms", "4294967296", marks=pytest.mark.edu),
])
def test_parameters_that_are_no_numbers(unloaded, name, value):
    assert modules.run("modprobe", modules.DRIVER, f"{name}={value}")[0] != 0
    assert not modules.is_loaded()


@pytest.mark.edu
@pytest.mark.physical
def test_parameters_at_the_ends_of_their_ranges(unloaded):
    for size, bits, timeout in ((4, 13, 200), (65536, 64, 60000)):
        modules.load(data_section_kib=size, dma_mask_bits=bits, quiesce_timeout_ms=timeout)
        modules.bind(unloaded[0])
        with Guest(unloaded[0]) as guest:
            assert guest.region.data_size == size * 1024
            image = guest.region.save()
            guest.region.state = region_2018.RUNNING
            guest.region.load(image)
        modules.unbind(unloaded[0])
        modules.unload()


@pytest.mark.physical
@pytest.mark.parametrize("driver", filter(None, [modules.VARIANT, mediated.DRIVER]))
def test_no_other_device_is_taken(bdfs, log, driver):
    """driver_override offers any device to a driver; here, the host bridge."""
    bridge = "0000:00:00.0"
    assert bridge not in modules.find_devices() and not modules.driver_of(bridge)
    loaded = modules.is_loaded(driver)
    modules.load(driver)
    log.take()
    try:
        status, output = modules.run(CLONE / "scripts/bind", bridge, driver)
        assert status != 0 and f"{driver} does not take {bridge}" in output, output
        assert not modules.driver_of(bridge)
        override = pathlib.Path("/sys/bus/pci/devices", bridge, "driver_override")
        assert override.read_text() == "(null)\n"
        assert any(bridge in line and "not a device of this driver" in line for line in log.take())
    finally:
        if modules.driver_of(bridge):
            modules.unbind(bridge)
        if not loaded:
            modules.unload(driver)


@pytest.mark.edu
@pytest.mark.physical
def test_the_script_tells_when_no_driver_takes_the_device(bdfs):
    """The stock kernel has no other driver for an edu."""
    path = CLONE / "scripts/unbind"
    try:
        status, output = modules.run(path, bdfs[0])
        assert status == 0 and f"no driver takes {bdfs[0]}" in output, output
        assert not modules.driver_of(bdfs[0])
        status, output = modules.run(path, bdfs[0])
        assert status == 0 and "has no driver" in output, output
    finally:
        modules.bind(bdfs[0])


def test_bind_and_unbind_again_and_again(bdfs):
    for number in range(5):
        for bdf in bdfs:
            modules.unbind(bdf)
            modules.bind(bdf)
        with Guest(bdfs[number % 2]) as guest:
            guest.is_fresh(thorough=False)
            guest.touch(number)


@pytest.mark.parametrize("state", region_2018.STATES)
def test_unbind_waits_for_the_client(bdfs, blank, guest, state):
    """In every state the client is asked, and keeps the device until it closes it."""
    guest.region.reach(state, blank)
    with EventFd() as event:
        guest.device.set_irq(REQUEST, event.fd)
        thread = threading.Thread(target=modules.unbind, args=(bdfs[0],))
        thread.start()
        wait_until(event.take)
        time.sleep(0.05)
        assert thread.is_alive()
        assert guest.region.state == state
        if state == region_2018.STOPNCOPY:
            assert guest.region.drain()
        guest.close()
        thread.join(30)
        assert not thread.is_alive()
    assert modules.driver_of(bdfs[0]) is None
    modules.bind(bdfs[0])
    with Guest(bdfs[0]) as again:
        again.is_fresh()


@pytest.mark.physical
def test_a_device_that_someone_else_binds(bdfs):
    """The kernel shows a device's driver before the probe is done; binding succeeds anyway."""
    for _ in range(20):
        modules.unbind(bdfs[0])
        thread = threading.Thread(target=modules.bind, args=(bdfs[0],))
        thread.start()
        while not modules.driver_of(bdfs[0]):
            pass
        modules.rebind(bdfs[0])
        with Guest(bdfs[0]) as guest:
            guest.touch(5)
            assert guest.touched() == 5
        thread.join()


@pytest.mark.edu
def test_unbind_with_work_under_way(bdfs, guest, rng):
    guest.fill(rng.randbytes(BUFFER_SIZE))
    guest.write_memory(0, 64)
    thread = threading.Thread(target=modules.unbind, args=(bdfs[0],))
    thread.start()
    guest.edu.start(edu.BUFFER, guest.IOVA, 64, edu.TO_MEMORY)
    guest.close()
    thread.join(30)
    assert not thread.is_alive()
    modules.bind(bdfs[0])
    with Guest(bdfs[0]) as again:
        again.is_fresh()


def test_no_open_without_the_driver(bdfs):
    modules.unbind(bdfs[0])
    with refused(errno.ENOENT):
        Guest(bdfs[0])
    modules.bind(bdfs[0])
