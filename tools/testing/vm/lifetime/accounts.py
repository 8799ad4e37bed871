# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel holds for users of devices: pinned pages, files, references, memory."""

import gc
import mmap
import os
import pathlib
import re
import time

from lib import modules


def _numbers(path):
    """Returns the numbers in a file, by name; its lines are a name and a number."""
    text = pathlib.Path(path).read_text(encoding="ascii")
    return {name: int(value) for name, value in re.findall(r"^(\S+?):?\s+(\d+)", text, re.M)}


def pins():
    """Returns how many pages are pinned for DMA in the whole system."""
    # The kernel adds up the counts of the processors only now and then, or when told to.
    pathlib.Path("/proc/sys/vm/stat_refresh").write_text("1", encoding="ascii")
    counts = _numbers("/proc/vmstat")
    return counts["nr_foll_pin_acquired"] - counts["nr_foll_pin_released"]


def open_files():
    """Returns how many open files the system has."""
    return int(pathlib.Path("/proc/sys/fs/file-nr").read_text(encoding="ascii").split()[0])


def references():
    """Returns the number of references to the driver's module."""
    return int(pathlib.Path(f"/sys/module/{modules.DRIVER}/refcnt").read_text(encoding="ascii"))


def _held():
    """Returns the counts that must be exactly the same before and after a use of a device."""
    return {
        "pinned pages": pins(),
        "open files": open_files(),
        "references to the module": references(),
    }


def held(quiet=1, seconds=20):
    """Returns what is held once that is stable, a moment after processes have ended."""
    end = time.monotonic() + seconds
    now, since = _held(), time.monotonic()
    while time.monotonic() < since + quiet:
        assert time.monotonic() < end, f"the counts keep changing, {now} now"
        time.sleep(0.01)
        if (then := _held()) != now:
            now, since = then, time.monotonic()
    return now


def _returned(now, before):
    """Returns whether the counts are as before.

    Fewer open files are no leak: on a busy machine a process that ended before the first count may
    close its files after it.
    """
    return now["open files"] <= before["open files"] and all(
        now[name] == count for name, count in before.items() if name != "open files"
    )


def returns_to(before, seconds=10):
    """Asserts that the counts return to `before`; some take a moment after their process ends."""
    end = time.monotonic() + seconds
    while not _returned(now := _held(), before):
        assert time.monotonic() < end, f"{now} instead of {before}"
        time.sleep(0.01)


def own():
    """Returns what this process holds: open files, kilobytes locked, kilobytes pinned."""
    status = _numbers("/proc/self/status")
    files = len(os.listdir("/proc/self/fd"))
    return {"files": files, "VmLck": status["VmLck"], "VmPin": status["VmPin"]}


def _shrink_caches():
    """Makes the kernel's allocator give back all free objects of its caches.

    The free objects that a processor keeps, up to hundreds, count as used; so do those that KASAN
    keeps in quarantine for a while.
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
        # Leaves out the checkers' own: kmemleak has one for each object of any cache.
        if not line.startswith(("kmemleak_object ", "debug_objects_cache "))
    }


def memory():
    """Returns the kilobytes of available memory, after everything cached is dropped."""
    gc.collect()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
    _shrink_caches()
    pathlib.Path("/proc/sys/vm/compact_memory").write_text("1", encoding="ascii")
    # Free pages that a processor keeps count as used.
    pathlib.Path("/proc/sys/vm/stat_refresh").write_text("1", encoding="ascii")
    zones = pathlib.Path("/proc/zoneinfo").read_text(encoding="ascii")
    at_hand = sum(int(count) for count in re.findall(r"^ +count: +(\d+)", zones, re.M))
    return _numbers("/proc/meminfo")["MemAvailable"] + at_hand * mmap.PAGESIZE // 1024


def kernel_memory():
    """Returns the kilobytes of each kind of the kernel's own memory."""
    _shrink_caches()
    counts = _numbers("/proc/meminfo")
    names = ("SUnreclaim", "KernelStack", "PageTables", "SecPageTables", "VmallocUsed", "Percpu",
             "Unevictable", "Mlocked")
    return {name: counts[name] for name in names}
