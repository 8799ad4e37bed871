# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own tests of VFIO: this driver passes what stock vfio-pci passes."""

import collections
import pathlib

import pytest

from lib import modules
from lib.iommufd import HAS_IOMMUFD
from selftests import kselftest

STOCK = "vfio-pci"
MODES = ("vfio_type1_iommu", "vfio_type1v2_iommu")
EACH_MODE = "each mode" if HAS_IOMMUFD else "each mode of type1"
# Programs that run all modes, those that take a mode, and those for iommufd alone.
WITH_MODES = ("vfio_dma_mapping_test", "vfio_pci_device_init_perf_test")
WITHOUT = ("vfio_pci_device_test",)
FOR_IOMMUFD = ("vfio_iommufd_setup_test",)
NEED_IOMMUFD = ()
if HAS_IOMMUFD:
    MODES += ("iommufd_compat_type1", "iommufd_compat_type1v2", "iommufd")
    WITHOUT += FOR_IOMMUFD
else:
    NEED_IOMMUFD = FOR_IOMMUFD
HUGE = pathlib.Path("/sys/kernel/mm/hugepages")


@pytest.fixture(scope="module", autouse=True)
def _huge_pages():
    """Huge pages for the tests that map them; one of 1 GiB is reserved at boot."""
    small, large = (HUGE / f"hugepages-{size}kB" / "nr_hugepages" for size in (2048, 1048576))
    small.write_text("4", encoding="ascii")
    assert int(small.read_text(encoding="ascii")) == 4
    assert int(large.read_text(encoding="ascii")) >= 1, (
        "no page of 1 GiB: run the tests by"
        " scripts/vm run --kernel-arg 'hugepagesz=1G hugepages=1'"
    )
    yield
    small.write_text("0", encoding="ascii")


@pytest.fixture
def devices(functions):
    """The devices that their buses can reset, which stock vfio-pci needs for its test."""
    yield functions[2:4]
    for bdf in functions[2:4]:
        modules.rebind(bdf)


def run_both(name, devices, mode):
    """Returns the results with the stock driver and with this one, and the tests left out."""
    found = []
    for driver in (STOCK, modules.VARIANT):
        for bdf in devices:
            modules.rebind(bdf, driver)
        bdfs = devices if "perf" in name else devices[:1]
        results, text, left_out = kselftest.run(name, *bdfs, mode=mode)
        print(text)
        found.append(results)
    return *found, left_out


def summary(results):
    number = collections.Counter(results.values())
    return f"{number['passed']} passed, {number['skipped']} skipped, {number['failed']} failed"


def report(count, name, mode, stock, ours):
    count(f"{name} ({mode}): {summary(ours)}; stock vfio-pci: {summary(stock)}")


@pytest.mark.parametrize("name, mode", [
    *((name, EACH_MODE) for name in WITH_MODES),
    *((name, mode) for name in WITHOUT for mode in MODES),
])
def test_the_same_tests_pass(devices, count, name, mode):
    stock, ours, left_out = run_both(name, devices, MODES[1] if mode not in MODES else mode)
    assert bool(left_out) == (name in WITH_MODES and not HAS_IOMMUFD)
    report(count, name, mode, stock, ours)
    assert ours == stock
    assert "passed" in stock.values() and "failed" not in stock.values()


def test_mapping_a_bar(devices, count):
    """This driver decodes each access, so the BAR cannot be mapped: there is nothing to test."""
    name = "vfio_dma_mapping_mmio_test"
    stock, ours, _ = run_both(name, devices, MODES[1])
    report(count, name, EACH_MODE, stock, ours)
    assert set(stock.values()) == {"passed"}
    assert set(ours.values()) == {"skipped"}
    assert set(ours) == set(stock)


@pytest.mark.parametrize("name, reason", [
    *((name, "it needs iommufd, which the stock kernel lacks") for name in NEED_IOMMUFD),
    ("vfio_pci_driver_test", "it has a driver for each device that it knows, and none for edu"),
    ("vfio_pci_sriov_uapi_test", "it wants a function with SR-IOV"),
])
def test_is_not_applicable(devices, count, name, reason):
    """The tests cannot pass here with any driver; they are shown so that a change is noticed."""
    for driver in (STOCK, modules.VARIANT):
        modules.rebind(devices[0], driver)
        status, text = kselftest.start(name, devices[0], mode=MODES[1])
        assert status != 0, text
        assert "\nok " not in text.replace("# SKIP", "\n"), text
    count(f"{name}: not applicable, {reason}")
