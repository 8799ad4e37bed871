# SPDX-License-Identifier: GPL-2.0-only
"""Operations that are repeated many times: what the kernel holds must not grow."""

import os
import statistics
import time

import pytest

from lib import mediated, modules
from lib.clients import IMAGE, Client
from lib.patience import SLOWNESS
from lib.protocols import v2
from lib.vfio import is_virtual
from lifetime import accounts

MIGRATIONS = int(os.environ.get("RVFIO_MIGRATIONS", "1000"))
USES = 200
RELOADS = 50
# The number before the first count, for allocations that are made once.
WARM_UP = 40
# One in so many migrations has a used buffer, which takes the device 100 ms each way.
FILLED = 100

# Available memory varies by some MiB with other work of the system. A leak of each migration shows
# in every part, and so in the median: half a page each is too much.
PARTS = 8
LOST = MIGRATIONS // PARTS * 4 // 2

# The kilobytes by which one kind of the kernel's memory may grow.
NOISE = 1536


def migrate(source, target, number, rng):
    """Migrates once and checks the registers; the protocols take turns."""
    if number % FILLED == 0:
        source.furnish(rng)
    elif number % FILLED == 1:
        source.device.reset()
    source.touch(number)
    expected = source.state()
    protocol = ("v2", "region_2018", "region_v1")[number % 3]
    image = source.save(protocol, precopy=number % 2 == 0)
    assert len(image) == IMAGE
    source.device.reset()
    target.load(protocol, image)
    assert target.touched() == number
    assert target.state() == expected


def growth(before, after, least):
    """Returns the counts that have grown by `least` or more."""
    return {
        name: (before.get(name, 0), value)
        for name, value in after.items()
        if value - before.get(name, 0) >= least
    }


def assert_no_growth(before, count, least, seconds=10 * SLOWNESS):
    """Asserts that no count has grown by `least` or more, or stays so.

    The kernel frees some objects a moment after their last use; what leaks is never freed.
    """
    end = time.monotonic() + seconds
    while (grown := growth(before, count(), least)) and time.monotonic() < end:
        time.sleep(0.5)
    assert grown == {}


@pytest.mark.hang(1200)
def test_migrations_in_a_row(bdfs, rng, count):
    assert MIGRATIONS >= 2 * FILLED, "RVFIO_MIGRATIONS is too small to show a leak"
    with Client(bdfs[0]) as one, Client(bdfs[1]) as other:
        pair = [one, other]
        for number in range(WARM_UP):
            migrate(*pair, number, rng)
            pair.reverse()
        memory = [accounts.memory()]
        kinds, objects = accounts.kernel_memory(), accounts.objects()
        held, own = accounts.held(), accounts.own()
        for number in range(MIGRATIONS):
            migrate(*pair, number, rng)
            pair.reverse()
            if (number + 1) % (MIGRATIONS // PARTS) == 0:
                memory.append(accounts.memory())
        assert accounts.own() == own
        accounts.returns_to(held)
        changes = [after - before for before, after in zip(memory, memory[1:])]
        # This shows an object that one in four migrations leaves.
        assert_no_growth(objects, accounts.objects, MIGRATIONS // 4)
        assert_no_growth(kinds, accounts.kernel_memory, NOISE)
        change = statistics.median(changes)
        assert change > -LOST, f"{changes} KiB"
        for guest in pair:
            guest.device.reset()
            guest.is_fresh()
    count(
        f"{MIGRATIONS} migrations in a row: {held['pinned pages']} pinned pages,"
        f" {held['open files']} open files, {own['files']} of the client,"
        f" VmLck {own['VmLck']} kB, VmPin {own['VmPin']} kB, before as after;"
        f" available memory {sum(changes):+d} kB in all, {change:+.0f} kB in the median"
        f" {MIGRATIONS // PARTS} of them"
    )


def test_opening_and_closing(bdfs, rng, count):
    """Each use begins an image and leaves it, and keeps its file for longer than the device."""

    def once():
        with Client(bdfs[0]) as guest:
            file = guest.v2.set(v2.PRE_COPY)
            file.read(10)
        file.close()

    for _ in range(WARM_UP):
        once()
    objects, held, own = accounts.objects(), accounts.held(), accounts.own()
    for _ in range(USES):
        once()
    assert accounts.own() == own
    accounts.returns_to(held)
    assert_no_growth(objects, accounts.objects, USES // 2)
    count(f"{USES} times opened, begun and closed: pins, files and kernel objects as before")


def test_unloading_and_loading(bdfs, rng, count):
    """Unloading is refused while a device is in use; afterwards nothing is left of the module."""

    def once(number):
        modules.unload()
        assert not modules.is_loaded() and not modules.is_loaded("rvfio")
        modules.load()
        for name in bdfs:
            bind(name)
        if number % 10 == 0:
            refuse()

    def bind(name):
        if name in parents:
            modules.rebind(parents[name])
        modules.bind(name)

    def refuse():
        with Client(bdfs[0]) as guest:
            status, output = modules.run("modprobe", "-r", modules.DRIVER)
            assert status != 0 and "in use" in output
            guest.touch(5)
            assert guest.touched() == 5

    parents = {name: mediated.home(name)[0] for name in bdfs if is_virtual(name)}
    for number in range(10):
        once(number)
    kinds, objects, files = accounts.kernel_memory(), accounts.objects(), accounts.open_files()
    for number in range(RELOADS):
        once(number)
    assert accounts.open_files() == files
    assert_no_growth(objects, accounts.objects, RELOADS * 2)
    assert_no_growth(kinds, accounts.kernel_memory, NOISE)
    with Client(bdfs[0]) as guest:
        guest.works(rng)
    count(f"{RELOADS} times unloaded and loaded")
