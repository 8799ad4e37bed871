# SPDX-License-Identifier: GPL-2.0-only
"""Fault injection: the kernel lets allocations and copies of user memory fail.

See Documentation/fault-injection of the kernel. Only the debug kernel has it. A fault hits the
thread that asks for it, at the N-th place that the thread reaches below a function of VFIO's,
iommufd's or the project's modules, so it never hits the test's own memory.
"""

import pathlib

DEBUGFS = pathlib.Path("/sys/kernel/debug")
ALLOCATIONS = ("failslab", "fail_page_alloc")
COPIES = ("fail_usercopy",)
# Faults hit below functions of these modules.
MODULES = ("rvfio", "edu_vfio_pci", "edu_mdev", "vfio", "vfio_pci_core", "vfio_iommu_type1",
           "iommufd", "mdev")

# Functions below which no fault is injected, since the stock kernel fails there by itself. ACPI's
# interpreter, which the kernel asks for the interrupt when it enables a device, frees an object
# once too often if an allocation fails. VFIO warns of a group that it gives up before the group is
# whole. The kernel warns when it removes files in /proc that an interrupt could not get, and when
# it cannot attach a device's domain after the device's user is gone.
ACPI_INTERRUPT = "acpi_pci_irq_"
NEW_GROUP = "vfio_create_group"
PROC_OF_INTERRUPT = "register_irq_proc"
# The one is for a container's group, the other, the next in memory, for an iommufd's device.
END_OF_OWNERSHIP = ("iommu_group_release_dma_owner", "iommu_device_release_dma_owner")

# No operation has so many places.
LIMIT = 2000


def _configure(name, **values):
    for file, value in values.items():
        (DEBUGFS / name / file.replace("_", "-")).write_text(str(value))


def _range_of(name):
    """Returns the range of addresses from the first to the last function whose name begins so."""
    with open("/proc/kallsyms", encoding="ascii") as file:
        lines = [line.split() for line in file]
    # Functions only: variables have such names too.
    symbols = sorted((int(at, 16), symbol) for at, kind, symbol, *_ in lines if kind in "tT")
    places = [at for at, symbol in symbols if symbol.startswith(name)]
    return places[0], min(at for at, _ in symbols if at > places[-1])


def _prepare(kinds, spared):
    """Has faults of these kinds hit below the modules, and no other kind anywhere."""
    modules = [line.split() for line in pathlib.Path("/proc/modules").read_text().splitlines()]
    ranges = [(int(line[5], 16), int(line[1])) for line in modules if line[0] in MODULES]
    start, end = min(at for at, _ in ranges), max(at + size for at, size in ranges)
    first, last = _range_of(spared)
    for name in ALLOCATIONS + COPIES:
        used = name in kinds
        # For a kind that is not wanted, the range has no function.
        _configure(name, verbose=0, stacktrace_depth=32,
                   require_start=hex(start if used else 1), require_end=hex(end if used else 2),
                   reject_start=hex(first), reject_end=hex(last))
    _configure("failslab", ignore_gfp_wait="N")
    _configure("fail_page_alloc", ignore_gfp_wait="N", ignore_gfp_highmem="N", min_order=0)


def inject(operation, kinds=ALLOCATIONS, spared=ACPI_INTERRUPT):
    """Runs `operation` with one fault, at each place in turn; yields the outcome of each run.

    An outcome is None, or the OSError. No fault hits below functions whose names begin with
    `spared`. Ends when the operation has no more places.
    """
    # What is done once only is done by then, and Python has read its files.
    operation()
    _prepare(kinds, spared)
    for number in range(1, LIMIT):
        with open("/proc/thread-self/fail-nth", "r+b", buffering=0) as nth:
            outcome = None
            nth.write(b"%d" % number)
            try:
                operation()
            except OSError as error:
                # The traceback would keep open what the operation opened.
                outcome = error.with_traceback(None)
            left = int(nth.read(16))
            nth.write(b"0")
        if left:
            assert outcome is None, f"failed without a fault: {outcome}"
            return
        yield outcome
    raise AssertionError("the operation never ends without a fault")
