# SPDX-License-Identifier: GPL-2.0-only
"""Each operation with each of its allocations, and each copy of user memory, failing in turn.

Either the error is the one that the uAPI names, or the operation has done all that it should. The
device works afterwards, and nothing leaks, which the runner checks in the end. The last lines
count the faults of each operation. Mapping a data section is not among the operations: it
allocates and copies nothing.
"""

import contextlib
import errno
import os
import pathlib

import pytest

from debug import faults
from lib import mediated, modules
from lib.clients import IMAGE, PROTOCOLS, Client
from lib.iommufd import IommuFd
from lib.protocols import region_2018
from lib.protocols import region_v1 as v1
from lib.protocols import v2
from lib.vfio import Container, EventFd, sysfs

# The errors of a failed allocation and of a failed copy. Without memory the PCI core returns ENOSPC
# for an interrupt, and EBUSY for a BAR that it could not reserve.
ERRORS = {
    faults.ALLOCATIONS: (errno.ENOMEM, errno.ENOSPC, errno.EBUSY),
    faults.COPIES: (errno.EFAULT,),
}

MSI = 1


class Tally:
    """The faults of one operation, by kind, and those after which it succeeded all the same."""

    def __init__(self):
        self.faults = dict.fromkeys(ERRORS, 0)
        self.survived = 0

    def __str__(self):
        return (f"{self.faults[faults.ALLOCATIONS]} allocations and "
                f"{self.faults[faults.COPIES]} copies failed, {self.survived} of them not noticed")


@pytest.fixture(scope="session")
def tallies(counts):
    """The tally of each operation, added to the summary in the end."""
    tallies = []
    yield tallies
    total = Tally()
    for tally in tallies:
        total.survived += tally.survived
        for kinds, number in tally.faults.items():
            total.faults[kinds] += number
    counts.append(f"debug: {len(tallies)} operations: {total}")


@pytest.fixture
def attempt(request, tallies, count):
    """Injects a fault at each place of an operation in turn; `check` is called after each."""
    tally = Tally()

    def attempt(operation, check, kinds=tuple(ERRORS), spared=faults.ACPI_INTERRUPT):
        for kind in kinds:
            for outcome in faults.inject(operation, kind, spared):
                tally.faults[kind] += 1
                if outcome is None:
                    tally.survived += 1
                else:
                    number = tally.faults[kind]
                    assert outcome.errno in ERRORS[kind], f"{kind} {number}: {outcome!r}"
                check(outcome)
        # An operation without a fault would test nothing.
        assert sum(tally.faults.values())

    yield attempt
    tallies.append(tally)
    count(f"{request.node.name.removeprefix('test_')}: {tally}")


def changing(state):
    """Returns the operation that takes a running device to a v2 state, and back."""

    def operation(guest):
        with contextlib.ExitStack() as files:
            file = guest.v2.set(state)
            if file:
                files.enter_context(file)
            guest.v2.set(v2.RUNNING)

    return operation


def saving(protocol, precopy):
    def operation(guest):
        # Whole, even if something failed without an error; the checksums cover its content.
        assert len(guest.save(protocol, precopy)) == IMAGE
        guest.run(protocol)

    return operation


def loading(protocol):
    return lambda guest: guest.load(protocol, guest.image)


def asking(guest):
    """Returns an operation that queries everything about the device."""
    assert guest.device.info()[1] == len(guest.device.regions)
    for region in guest.device.regions:
        assert guest.device.region_info(region.index) == region
    guest.v2.flags()
    guest.v2.data_size()
    assert guest.v2.state == v2.RUNNING
    assert guest.v1.state == v1.RUNNING
    assert guest.region.pending() == (0, 0, 0)


def interrupting(guest):
    with EventFd() as event:
        guest.device.set_irq(MSI, event.fd)
        try:
            guest.edu.factorial(3)
        finally:
            guest.device.clear_irq(MSI)


def querying(guest):
    """Returns an operation that queries dirty pages, by region_2018."""
    guest.region.state = region_2018.SETUP
    guest.write_memory(0, 4096)
    guest.region.dirty(guest.IOVA, 256)
    guest.region.state = region_2018.CANCELLED


def logging(guest):
    """Returns an operation that queries dirty pages, by the features of v2."""
    guest.log.start((0, 1 << 40))
    guest.write_memory(0, 4096)
    guest.log.report(guest.IOVA, guest.memory.size)
    guest.log.stop()


def resetting(guest):
    # There must be something to clear.
    guest.edu.to_device(guest.IOVA, 4096)
    guest.device.reset()


# These exchange the device's domain, which goes another way with an iommufd.
EXCHANGING = {
    "reset": resetting,
    **{f"save-{protocol}": saving(protocol, True) for protocol in PROTOCOLS},
    **{f"load-{protocol}": loading(protocol) for protocol in PROTOCOLS},
}
OTHERS = {
    "ioctls-and-reads": asking,
    "dirty-pfns": querying,
    "dma-logging": logging,
    **{f"v2-state-{state}": changing(state) for state in (
        v2.STOP, v2.STOP_COPY, v2.RUNNING_P2P, v2.PRE_COPY, v2.PRE_COPY_P2P)},
    **{f"save-stopped-{protocol}": saving(protocol, False) for protocol in PROTOCOLS},
}


def in_operation(guest, attempt, operation, rng, loads=False, **options):
    """Makes an operation on an open device fail at each place; `loads`: it loads the image."""
    content = guest.furnish(rng)
    expected = guest.state()
    guest.image = guest.v2.save(precopy=False)
    guest.device.reset()

    def check(outcome):
        if outcome:
            guest.device.reset()
        elif loads:
            assert guest.state() == expected
            assert guest.buffer() == content
        assert guest.v2.state == v2.RUNNING
        assert guest.v1.state == v1.RUNNING
        assert guest.region.state == region_2018.RUNNING
        assert guest.edu.factorial(5) == 120

    attempt(lambda: operation(guest), check, **options)
    guest.works(rng)


@pytest.mark.edu
@pytest.mark.parametrize("name", EXCHANGING)
@pytest.mark.hang(1200)
def test_exchange(guest, attempt, rng, name):
    in_operation(guest, attempt, EXCHANGING[name], rng, loads=name.startswith("load"))


@pytest.mark.edu
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("space", ["container"], indirect=True)
@pytest.mark.hang(1200)
def test_operation(guest, attempt, rng, name):
    in_operation(guest, attempt, OTHERS[name], rng)


@pytest.mark.edu
@pytest.mark.parametrize("space", ["container"], indirect=True)
@pytest.mark.hang(1200)
def test_interrupts(guest, attempt, rng):
    in_operation(guest, attempt, interrupting, rng, spared=faults.PROC_OF_INTERRUPT)


@pytest.fixture
def to_open(bdfs):
    """The first device, with a data section of one page: pages are all allocated at one place.

    The device is already enabled, so that opening it does not ask ACPI for its interrupt.
    """
    bdf = bdfs[0]
    enable = pathlib.Path(f"{sysfs(bdf)}/enable")
    modules.reload(bdfs, data_section_kib=4)
    modules.unbind(bdf)
    enable.write_text("1")
    modules.bind(bdf)
    yield bdf
    modules.unbind(bdf)
    enable.write_text("0")
    modules.bind(bdf)
    modules.reload(bdfs)


@pytest.mark.parametrize("path", [Container, IommuFd])
@pytest.mark.hang(1200)
def test_opening(to_open, attempt, rng, path):
    def open_():
        space = path()
        try:
            os.close(space.open(sysfs(to_open)))
        finally:
            space.close()

    attempt(open_, lambda _: None, spared=faults.END_OF_OWNERSHIP)
    with Client(to_open) as guest:
        guest.works(rng)


@pytest.mark.hang(1200)
def test_binding(bdfs, attempt, rng):
    def bind():
        modules.unbind(bdfs[0])
        try:
            modules.bind(bdfs[0])
        except AssertionError as error:
            # The writer to sysfs does not learn that the probe failed.
            raise OSError(errno.ENOMEM, "not bound") from error

    def check(_):
        if modules.driver_of(bdfs[0]) != modules.DRIVER:
            modules.bind(bdfs[0])

    attempt(bind, check, [faults.ALLOCATIONS], faults.NEW_GROUP)
    with Client(bdfs[0]) as guest:
        guest.works(rng)


@pytest.mark.hang(1200)
def test_creating_a_virtual_device(functions, attempt, rng):
    bdf = functions[2]
    modules.rebind(bdf, mediated.DRIVER)
    try:
        attempt(lambda: mediated.remove(mediated.create(bdf, 2)),
                lambda _: mediated.clear(bdf), [faults.ALLOCATIONS], faults.NEW_GROUP)
        with Client(mediated.create(bdf, 2)) as guest:
            guest.works(rng)
    finally:
        mediated.clear(bdf)
        modules.rebind(bdf, modules.VARIANT)
