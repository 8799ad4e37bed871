#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Compares dirty-page queries through edu_vfio_pci with those of the container.

Runs in the virtual machine. Both are asked for the same range, in turn, with the
same pages dirty. The range is made of mappings of one piece of memory.
"""

import mmap
import statistics
import struct
import subprocess
import time

from devices import edu
from lib.clone import script
from lib.protocols import region_2018
from lib.protocols.region_2018 import PAGE
from lib.vfio import Device, Memory

GIB = 1 << 30
PIECE = 256 << 20
BASE = 4 * GIB
ROUNDS = 9
# Has 64 address bits.
BDF = "0000:00:11.0"


def memory():
    """Returns memory in large pages, which is quick to map often."""
    area = mmap.mmap(-1, PIECE)
    area.madvise(mmap.MADV_HUGEPAGE)
    piece = Memory(PIECE, area)
    for at in range(0, PIECE, PAGE):
        area[at] = 1
    return piece


def through_region(region, size):
    """Returns the time of a query in microseconds, and the number of dirty pages that it found."""
    start, pages, dirty = BASE, size // PAGE, 0
    begun = time.perf_counter_ns()
    while pages:
        region.raw_write(region_2018.START_ADDR[0], struct.pack("<QQ", start, pages))
        copied = region.get(region_2018.COPIED)
        if not copied:
            break
        bitmap = region.area[: (copied + 7) // 8]
        dirty += len(bitmap) - bitmap.count(0)
        start += copied * PAGE
        pages -= copied
    return (time.perf_counter_ns() - begun) / 1000, dirty


def through_container(device, size):
    """Does the same by VFIO_IOMMU_DIRTY_PAGES; the bitmap must be zero."""
    begun = time.perf_counter_ns()
    bitmap = bytearray(size // PAGE // 8)
    device.dirty_bitmap(BASE, bitmap)
    dirty = len(bitmap) - bitmap.count(0)
    return (time.perf_counter_ns() - begun) / 1000, dirty


def main():
    subprocess.run(["modprobe", "edu_vfio_pci", "dma_mask_bits=64"], check=True)
    script("bind", BDF)
    piece = memory()
    with Device(BDF) as device:
        region, registers = region_2018.Region2018(device), edu.Edu(device)
        for at in range(0, 16 * GIB, PIECE):
            device.map(piece, BASE + at)
        # The container counts single pages once the device has written one.
        registers.to_memory(BASE, 1)
        region.state = region_2018.SETUP
        device.dirty_pages(True)
        print(f"{'query and clear, us':24} {'dirty_pfns':>11} {'GET_BITMAP':>11}")
        for size in (GIB, 16 * GIB):
            for pages in (0, 2):
                rounds = []
                for _ in range(ROUNDS):
                    if pages:
                        # At the end of the range: 16 bytes across the border of two pages.
                        registers.to_memory(BASE + size - PAGE - 8, 16)
                    ours, mine = through_region(region, size)
                    theirs, other = through_container(device, size)
                    assert (mine > 0) == (other > 0) == (pages > 0)
                    rounds.append((ours, theirs))
                ours, theirs = (statistics.median(column) for column in zip(*rounds))
                ratio = statistics.median(ours / theirs for ours, theirs in rounds)
                verdict = "ok" if ratio <= 1 else "missed"
                must = f"(must be <= 1.00: {verdict})" if size > GIB else ""
                name = f"{size // GIB} GiB, {pages} pages dirty"
                print(f"{name:24} {ours:11.0f} {theirs:11.0f}   ratio {ratio:.3f} {must}")
        region.close()


main()
