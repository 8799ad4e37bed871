# SPDX-License-Identifier: GPL-2.0-only
"""Several threads that use one device at once, and who may open it."""

import errno
import mmap
import os
import random
import threading
import time

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib import vfio
from lib.guest import Guest
from lib.patience import SLOWNESS
from lib.protocols import region_2018
from lib.protocols.region_2018 import PAGE

SECONDS = 4 * SLOWNESS
# The errors of opening a device in use: its group is open, or it belongs to an iommufd.
IN_USE = errno.EINVAL if vfio.THROUGH_IOMMUFD else errno.EBUSY
# The errors that the uAPI names.
ALLOWED = {errno.EINVAL, errno.EBUSY, errno.EIO}


def random_header(guest, rng):
    field = rng.choice(region_2018.FIELDS)
    if rng.getrandbits(1):
        guest.region.get(field)
    else:
        guest.region.set(field, rng.choice((0, 1, 2, 4096, rng.getrandbits(8 * field[1]))))


def random_access(guest, rng):
    offset, size = rng.randrange(100), rng.randint(0, 100)
    if rng.getrandbits(1):
        guest.region.raw_read(offset, size)
    else:
        guest.region.raw_write(offset, rng.randbytes(size))


def random_state(guest, rng):
    guest.region.state = rng.choice((0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 7, 8, 9))


def random_buffer(guest, rng):
    if rng.getrandbits(1):
        guest.region.get_buffer()
    else:
        guest.region.set(region_2018.DATA_OFFSET, 4096)
        guest.region.set(region_2018.DATA_SIZE, rng.choice((1, 64, 1000)))


def random_query(guest, rng):
    guest.region.dirty(rng.randrange(1 << 16) * PAGE, rng.choice((1, 256, 1 << 16, 1 << 40)))


def random_section(guest, rng):
    at = rng.randrange(guest.region.data_size)
    guest.region.raw_write(4096 + at, rng.randbytes(rng.randint(1, 9000)))
    guest.region.area[at : at + 1] = b"x"
    guest.region.raw_read(4096 + at, rng.randint(1, 9000))


def random_map(guest, rng):
    pages = rng.randint(1, 64)
    info = guest.region.info
    area = mmap.mmap(guest.device.fd, pages * PAGE, offset=info.offset + 4096)
    area[:8] = rng.randbytes(8)
    area.close()


def random_register(guest, rng):
    register = rng.choice((*edu.STATE_32, *edu.STATE_64, 0x60, 0x64, rng.randrange(0x200)))
    size = rng.choice((1, 2, 4, 8, 16))
    if rng.getrandbits(1):
        guest.device.read(vfio.BAR0_REGION, register, size)
    else:
        # Small numbers keep computations short.
        guest.device.write(vfio.BAR0_REGION, register, rng.randrange(100).to_bytes(size, "little"))


def random_transfer(guest, rng):
    pair = [BUFFER, guest.IOVA + rng.randrange(200 * PAGE)]
    to_memory = rng.getrandbits(1)
    guest.edu.start(*(pair if to_memory else pair[::-1]), rng.randint(1, BUFFER_SIZE),
                    edu.TO_MEMORY * to_memory)


def random_command(guest, rng):
    guest.device.enable(rng.choice((0, 2, 4, 6)), clear=rng.choice((0, 2, 4)))


def random_reset(guest, rng):
    time.sleep(rng.random() / 4)
    guest.device.reset()


@pytest.mark.edu
def test_everything_at_once(bdfs):
    works_of = (random_header, random_access, random_state, random_buffer, random_query,
                random_section, random_map, random_register, random_transfer, random_command,
                random_reset)
    with Guest(bdfs[0]) as guest:
        # Any address that may result has memory.
        guest.device.map(guest.memory, 0)
        failed, done = [], {}
        end = time.monotonic() + SECONDS

        def loop(work):
            rng, count = random.Random(work.__name__), 0
            while time.monotonic() < end and not failed:
                try:
                    work(guest, rng)
                    count += 1
                except OSError as error:
                    if error.errno not in ALLOWED:
                        failed.append((work.__name__, error))
                except AssertionError:
                    # A short write: the driver refused the second access of the call.
                    pass
                except BaseException as error:
                    failed.append((work.__name__, error))
            done[work.__name__] = count

        threads = [threading.Thread(target=loop, args=(work,)) for work in works_of]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "hangs"
        assert not failed
        assert all(done.values()), done
        guest.device.enable(vfio.COMMAND_MEMORY | vfio.COMMAND_MASTER)
        guest.device.reset()
        guest.is_fresh()
        guest.works()
        expected = guest.state()
        image = guest.region.save()
        guest.region.state = region_2018.RUNNING
        guest.region.load(image)
        assert guest.state() == expected
    with Guest(bdfs[0]) as guest:
        guest.is_fresh()


@pytest.mark.edu
def test_the_header_is_read_while_a_stop_waits(guest):
    """A reader waits, sees a whole state, and gets no error."""
    guest.edu.write32(edu.FACTORIAL, 0x20000000)
    seen = []
    thread = threading.Thread(
        target=guest.region.set, args=(region_2018.DEVICE_STATE, region_2018.STOPNCOPY)
    )
    thread.start()
    while thread.is_alive():
        seen.append(guest.region.state)
    thread.join()
    assert set(seen) <= {region_2018.RUNNING, region_2018.STOPNCOPY}
    assert guest.region.state == region_2018.STOPNCOPY


def test_an_open_device_is_open_once(bdfs, guest):
    try:
        Guest(bdfs[0])
    except OSError as error:
        assert error.errno == IN_USE
    else:
        raise AssertionError("opened twice")
    guest.works()


def test_a_forked_process_keeps_the_device_open(bdfs, guest):
    """Closing the last file closes the device; until then it is in use."""
    guest.touch(1)
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(theirs)
        os.read(ours, 1)
        os._exit(0)
    os.close(ours)
    guest.close()
    try:
        Guest(bdfs[0])
    except OSError as error:
        assert error.errno == IN_USE
    else:
        raise AssertionError("opened while in use")
    os.close(theirs)
    os.waitpid(pid, 0)
    with Guest(bdfs[0]) as again:
        again.is_fresh()
