# SPDX-License-Identifier: GPL-2.0-only
"""What every test in the virtual machine builds on: devices, driver, kernel log, client."""

import collections
import faulthandler
import os
import pathlib
import random
import re
import sys

import pytest

from devices import chosen
from lib import mediated, modules
from lib.clone import TARGET, script
from lib.guest import Guest
from lib.iommufd import HAS_IOMMUFD
from lib.kernel_log import KernelLog
from lib.patience import SLOWNESS
from lib.qemu import versions
from lib.vfio import THROUGH_IOMMUFD

# Whether the kernel recovers from errors of the bus (CONFIG_PCIEAER).
HAS_AER = any(pathlib.Path("/sys/bus/pci/devices").glob("*/aer_dev_fatal"))

# No test takes half as long, except those with the mark 'hang'.
HANG_SECONDS = 300
STDERR = pytest.StashKey()

# Lines that tests add to the summary.
COUNTS = pytest.StashKey()

# The kernel's own words for trouble; scripts/check-kernel-log looks closer after the run.
TROUBLE = re.compile(
    r"WARNING: |\bBUG: |kernel BUG at|\bOops\b|general protection fault|nable to handle"
    r"|INFO: (task|possible|rcu)|refcount_t: |rust_kernel: panicked|KASAN:|UBSAN:|cut here"
)


def pytest_collection_modifyitems(config, items):
    """Leaves out tests of other devices, flavours, ways to open a device, or kernels."""
    others = {
        **{name: name != chosen.NAME for name in chosen.NAMES},
        "precopy": not any(runs for *_, runs in chosen.DEVICE.SECTIONS),
        "writes_memory": not chosen.DEVICE.WRITES_MEMORY,
        "physical": modules.DRIVER == mediated.DRIVER,
        "container": THROUGH_IOMMUFD,
        "iommufd": not THROUGH_IOMMUFD,
        "no_dma_logging": HAS_IOMMUFD,
        "aer": not HAS_AER,
    }
    marks = [mark for mark, is_other in others.items() if is_other]
    theirs = [item for item in items if any(map(item.get_closest_marker, marks))]
    if theirs:
        config.hook.pytest_deselected(items=theirs)
        items[:] = [item for item in items if item not in theirs]


@pytest.fixture(scope="session", name="functions")
def _functions():
    """The addresses of all physical devices.

    The first edu has a DMA mask of 28 bits, the second of 64.
    """
    devices = modules.find_devices()
    if len(devices) < 2:
        pytest.exit(f"two devices are needed, there are {len(devices)}", returncode=3)
    return devices


def bound(devices):
    """Binds devices to the driver, whatever the test before did; returns their names.

    With RVFIO_FLAVOUR=mdev it returns the UUIDs of virtual devices, one on each of the physical.
    """
    if modules.DRIVER == mediated.DRIVER:
        return [_virtual(bdf) for bdf in devices]
    if not modules.is_loaded():
        modules.load()
    for bdf in devices:
        if modules.driver_of(bdf) != modules.DRIVER:
            script("bind", bdf, modules.DRIVER)
    return devices


@pytest.fixture
def bdfs(functions):
    """The addresses of the first two devices, bound to the driver."""
    return bound(functions[:2])


@pytest.fixture
def all_bdfs(functions):
    """The addresses of all devices, bound to the driver."""
    return bound(functions)


@pytest.fixture
def guest_class():
    """The class that `guest` and `pair` open devices with; a folder may name another."""
    return Guest


@pytest.fixture
def guest(bdfs, guest_class):
    """The first device, open."""
    with guest_class(bdfs[0]) as guest:
        yield guest


@pytest.fixture
def pair(bdfs, guest_class):
    """The first two devices, open, each with memory of its own."""
    with guest_class(bdfs[0]) as source, guest_class(bdfs[1]) as target:
        yield source, target


@pytest.fixture
def blank(guest):
    """The image of a fresh device, and the first device, open and running."""
    image = guest.save()
    guest.device.reset()
    return image


@pytest.fixture(params=versions.ALL, ids=str)
def version(request):
    """Each QEMU in turn."""
    versions.prepare()
    return request.param


def _virtual(bdf):
    """Returns a virtual device on a physical one."""
    modules.rebind(bdf, mediated.DRIVER)
    names = mediated.children(bdf)
    return names[0] if names else mediated.create(bdf, 2)


@pytest.fixture(autouse=True)
def _kernel_is_content():
    """Fails a test if the kernel logs a warning or worse while it runs."""
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.lseek(log, 0, os.SEEK_END)
    yield
    trouble = []
    try:
        while True:
            try:
                line = os.read(log, 8192).decode(errors="replace")
            except BrokenPipeError:  # The line was overwritten before it was read.
                continue
            if TROUBLE.search(line):
                trouble.append(line.partition(";")[2].strip())
    except BlockingIOError:
        pass
    finally:
        os.close(log)
    assert not trouble, "the kernel log: " + "\n".join(trouble)


@pytest.fixture(scope="session")
def vfio_migrate():
    """The path of the client."""
    path = pathlib.Path(os.environ.get("RVFIO_BIN", TARGET / "release/vfio-migrate"))
    assert path.is_file(), f"{path} is missing: build it with 'make tools'"
    return path


def pytest_configure(config):
    """Keeps standard error, which pytest replaces while a test runs.

    Also makes vfio-migrate open devices the way the tests do.
    """
    os.environ["VFIO_MIGRATE_IOMMU"] = "iommufd" if THROUGH_IOMMUFD else "container"
    config.stash[STDERR] = os.dup(sys.stderr.fileno())
    config.stash[COUNTS] = []


@pytest.fixture(scope="session")
def counts(request):
    """The lines that tests add to the summary."""
    return request.config.stash[COUNTS]


@pytest.fixture
def count(request, counts):
    """Adds a line to the summary, after the name of the test's directory."""
    return lambda line: counts.append(f"{request.path.parent.name}: {line}")


def pytest_terminal_summary(terminalreporter, config):
    """Prints the tests of each folder, if there are several, and the lines that tests have added."""
    passed, seconds = collections.Counter(), collections.Counter()
    for kind, reports in terminalreporter.stats.items():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                folder = report.nodeid.partition("/")[0]
                passed[folder] += kind == "passed"
                seconds[folder] += report.duration
    if len(seconds) > 1:
        for folder in seconds:
            terminalreporter.write_line(
                f"{folder}: {passed[folder]} passed in {seconds[folder]:.0f} s"
            )
    for line in config.stash[COUNTS]:
        terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def no_hang(request):
    """Ends the run with a traceback when a test hangs."""
    mark = request.node.get_closest_marker("hang")
    seconds = (mark.args[0] if mark else HANG_SECONDS) * SLOWNESS
    stderr = request.config.stash[STDERR]
    faulthandler.dump_traceback_later(seconds, file=stderr, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def log():
    """The kernel's messages during the test."""
    with KernelLog() as log:
        yield log


@pytest.fixture
def rng(request):
    """Random numbers that are the same in each run of a test."""
    return random.Random(request.node.nodeid)
