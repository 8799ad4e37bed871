# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel holds for users of devices: pages, pins, files, references, memory."""

import gc
import mmap
import os
import pathlib
import re
import time

from lib import modules


def _numbers(path):
    """Returns the numbers of a file whose lines are names and numbers."""
    text = pathlib.Path(path).read_text(encoding="ascii")
    return {name: int(value) for name, value in re.findall(r"^(\S+?):?\s+(\d+)", text, re.M)}


def pins():
    """Returns how many pages are pinned for DMA in the whole system."""
    # The counts of the processors are added up only now and then, or by this.
    pathlib.Path("/proc/sys/vm/stat_refresh").write_text("1", encoding="ascii")
    counts = _numbers("/proc/vmstat")
    return counts["nr_foll_pin_acquired"] - counts["nr_foll_pin_released"]


def open_files():
    """Returns how many open files the system has."""
    return int(pathlib.Path("/proc/sys/fs/file-nr").read_text(encoding="ascii").split()[0])


def references():
    """Returns how often the driver's module is used."""
    return int(pathlib.Path(f"/sys/module/{modules.DRIVER}/refcnt").read_text(encoding="ascii"))


def _held():
    """Returns all that must be the same before and after a user of a device, exactly."""
    return {
        "pinned pages": pins(),
        "open files": open_files(),
        "references to the module": references(),
    }


def held(quiet=1, seconds=20):
    """Returns what is held, once it has been the same for a while: much ends after its process."""
    end = time.monotonic() + seconds
    now, since = _held(), time.monotonic()
    while time.monotonic() < since + quiet:
        assert time.monotonic() < end, f"there are changes all the time, {now} now"
        time.sleep(0.01)
        if (then := _held()) != now:
            now, since = then, time.monotonic()
    return now


def returns_to(before, seconds=10):
    """Asserts that what is held gets to what it was; much of it ends a moment after a process."""
    end = time.monotonic() + seconds
    while (now := _held()) != before:
        assert time.monotonic() < end, f"{now} instead of {before}"
        time.sleep(0.01)


def own():
    """Returns what this process holds: open files, and kilobytes locked and pinned."""
    status = _numbers("/proc/self/status")
    files = len(os.listdir("/proc/self/fd"))
    return {"files": files, "VmLck": status["VmLck"], "VmPin": status["VmPin"]}


def _shrink_caches():
    """Lets the kernel's allocator give back all that is free in its caches.

    What each processor keeps at hand of a cache counts as used, up to hundreds of objects; so
    does what KASAN keeps from use for a while.
    """
    for cache in pathlib.Path("/sys/kernel/slab").glob("*/shrink"):
        cache.write_text("1", encoding="ascii")


def objects():
    """Returns the number of objects in use of each cache of the kernel's allocator."""
    _shrink_caches()
    text = pathlib.Path("/proc/slabinfo").read_text(encoding="ascii")
    return {
        line.split()[0]: int(line.split()[1])
        for line in text.splitlines()[2:]
        # The checkers' own: kmemleak has one for each object of any cache.
        if not line.startswith(("kmemleak_object ", "debug_objects_cache "))
    }


def memory():
    """Returns kilobytes of memory that can be had, with all let go that is merely cached."""
    gc.collect()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
    _shrink_caches()
    pathlib.Path("/proc/sys/vm/compact_memory").write_text("1", encoding="ascii")
    # Pages that a processor has freed and keeps at hand count as used.
    pathlib.Path("/proc/sys/vm/stat_refresh").write_text("1", encoding="ascii")
    zones = pathlib.Path("/proc/zoneinfo").read_text(encoding="ascii")
    at_hand = sum(int(count) for count in re.findall(r"^ +count: +(\d+)", zones, re.M))
    return _numbers("/proc/meminfo")["MemAvailable"] + at_hand * mmap.PAGESIZE // 1024


def kernel_memory():
    """Returns kilobytes of each kind of memory that the kernel has for itself."""
    _shrink_caches()
    counts = _numbers("/proc/meminfo")
    names = ("SUnreclaim", "KernelStack", "PageTables", "SecPageTables", "VmallocUsed", "Percpu",
             "Unevictable", "Mlocked")
    return {name: counts[name] for name in names}
