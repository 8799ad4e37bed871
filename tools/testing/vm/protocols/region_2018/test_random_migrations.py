# SPDX-License-Identifier: GPL-2.0-only
"""Migrations of a guest whose device moves data at random; every byte must arrive.

The seed of a run is printed when it fails. RVFIO_SEED repeats it.
"""

import os
import random

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib.protocols import region_2018

pytestmark = pytest.mark.edu

PAGE = region_2018.PAGE


def runs(device):
    return bool(device.read64(edu.DMA_COMMAND) & edu.RUN)


class Migration:
    """Copies one guest to another, by the pages that the driver reports."""

    def __init__(self, source, target, rng):
        self.source, self.target, self.rng = source, target, rng
        self.pages = source.memory.size // PAGE
        # The pages that the next query must report, and those that it may, due to a transfer.
        self.due, self.possible = set(), set()
        # The pages of the last transfer to memory.
        self.last = set()

    def copy(self, addresses):
        for address in addresses:
            at = address - self.source.IOVA
            self.target.memory.bytes[at : at + PAGE] = self.source.memory.bytes[at : at + PAGE]

    def transfer(self):
        """Starts a transfer of random size, address and direction, unless one is under way."""
        if runs(self.source.edu):
            return
        rng = self.rng
        count = rng.choice((1, 8, 4095, BUFFER_SIZE, rng.randint(1, BUFFER_SIZE)))
        inside = BUFFER + rng.randint(0, BUFFER_SIZE - count)
        iova = self.source.IOVA + rng.randrange(self.source.memory.size - count)
        if rng.getrandbits(1):
            self.source.edu.start(inside, iova, count, edu.TO_MEMORY)
            first, last = iova // PAGE, (iova + count - 1) // PAGE
            self.last = {page * PAGE for page in range(first, last + 1)}
            self.due |= self.last
            self.possible |= self.last
        else:
            self.source.edu.start(iova, inside, count, 0)
            self.last = set()
        if rng.getrandbits(1):
            self.source.edu.wait_transfer()

    def round(self):
        """Queries dirty pages and copies them."""
        ran_before = runs(self.source.edu)
        reported = self.source.region.dirty(self.source.IOVA, self.pages)
        runs_after = runs(self.source.edu)
        assert self.due <= reported, "a page was not reported"
        assert reported <= self.possible, "a page was reported that was not written"
        self.copy(reported)
        # A transfer that ran throughout is due again; one that ran before may be reported again.
        self.due = set(self.last) if runs_after else set()
        self.possible = set(self.last) if ran_before else set()

    def buffer(self):
        """Passes on one buffer of the image; returns whether there was one."""
        data = self.source.region.get_buffer()
        if data:
            self.target.region.set_buffer(data)
        return bool(data)

    def run(self):
        source, target, rng = self.source.region, self.target.region, self.rng
        self.source.memory.bytes[:] = rng.randbytes(self.source.memory.size)
        self.source.edu.to_device(self.source.IOVA)
        target.state = region_2018.RESUME
        source.state = region_2018.SETUP
        self.copy(self.source.IOVA + page * PAGE for page in range(self.pages))
        source.state = region_2018.PRECOPY
        for _ in range(rng.randint(2, 6)):
            for _ in range(rng.randint(0, 3)):
                self.transfer()
            for _ in range(rng.randint(0, 2)):
                self.buffer()
            if rng.getrandbits(2):
                self.round()
        self.transfer()
        source.state = region_2018.STOPNCOPY
        while self.buffer():
            pass
        source.state = region_2018.SAVE_COMPLETED
        reported = source.dirty(self.source.IOVA, self.pages)
        assert self.due <= reported <= self.possible
        self.copy(reported)
        assert source.dirty(self.source.IOVA, self.pages) == set()
        target.state = region_2018.RESUME_COMPLETED
        target.state = region_2018.RUNNING


@pytest.mark.parametrize("number", range(5))
def test_every_byte_arrives(pair, number):
    seed = int(os.environ.get("RVFIO_SEED") or random.getrandbits(32))
    print(f"number {number}: repeat with RVFIO_SEED={seed}")
    source, target = pair
    Migration(source, target, random.Random(seed)).run()
    assert target.memory.bytes[:] == source.memory.bytes[:]
    state = target.state()
    source.region.state = region_2018.RUNNING
    assert state == source.state()
    assert target.buffer() == source.buffer()
