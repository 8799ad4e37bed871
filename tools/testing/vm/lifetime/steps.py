# SPDX-License-Identifier: GPL-2.0-only
"""A migration step by step, in each protocol, so that a test can act between two steps.

Every function is a generator that yields after each step what the step was.
"""

import errno
import time

from lib.clients import IMAGE_PRECOPY
from lib.protocols import region_2018
from lib.protocols import region_v1 as v1
from lib.protocols import v2

# Bytes of a piece: an image takes several steps, and ends in the middle of a piece.
PIECE = 1500


def _pieces(image):
    return [bytes(image[at : at + PIECE]) for at in range(0, len(image), PIECE)]


def _save_region_2018(guest, image):
    region = guest.region
    for state, name in (
        (region_2018.SETUP, "SETUP"),
        (region_2018.PRECOPY, "PRECOPY"),
        (region_2018.STOPNCOPY, "STOPNCOPY"),
    ):
        region.state = state
        yield name
        region.set(region_2018.THRESHOLD, PIECE)
        while state != region_2018.SETUP:
            region.pending()
            size = region.get(region_2018.DATA_SIZE)
            yield f"a staged buffer in {name}"
            if not size:
                break
            image += region.data_read(size)
        assert state != region_2018.STOPNCOPY or region.pending() == (0, 0, 0)
    region.state = region_2018.SAVE_COMPLETED
    yield "SAVE_COMPLETED"


def _load_region_2018(guest, image):
    region = guest.region
    region.state = region_2018.RESUME
    yield "RESUME"
    for piece in _pieces(image):
        region.data_write(piece)
        region.set(region_2018.DATA_OFFSET, region.data_offset)
        yield "a filled buffer"
        region.set(region_2018.DATA_SIZE, len(piece))
        yield "a buffer"
    region.state = region_2018.RESUME_COMPLETED
    yield "RESUME_COMPLETED"
    region.state = region_2018.RUNNING
    yield "RUNNING"


def _save_region_v1(guest, image):
    region = guest.v1
    for state, name in ((v1.PRE_COPY, "PRE_COPY"), (v1.STOP_COPY, "STOP_COPY")):
        region.state = state
        yield name
        while region.pending():
            data = region.get_buffer()
            yield f"a staged buffer in {name}"
            if not data:
                break
            image += data
    region.state = v1.STOP
    yield "STOP"


def _load_region_v1(guest, image):
    region = guest.v1
    region.state = v1.RESUMING
    yield "RESUMING"
    for piece in _pieces(image):
        region.data_write(piece)
        yield "a filled buffer"
        region.set(v1.DATA_SIZE, len(piece))
        yield "a buffer"
    region.state = v1.RUNNING
    yield "RUNNING"


def _read(file):
    """Reads some bytes; returns none while the guest keeps the buffer busy."""
    end = time.monotonic() + 10
    while True:
        try:
            return file.read(PIECE)
        except OSError as error:
            assert error.errno == errno.ENOMSG and time.monotonic() < end, error
        time.sleep(0.005)


def _save_v2(guest, image):
    with guest.v2.set(v2.PRE_COPY) as file:
        yield "PRE_COPY"
        for _ in range(0, min(IMAGE_PRECOPY, 2 * PIECE), PIECE):
            image += _read(file)
            yield "bytes in PRE_COPY"
        image += file.drain()
        guest.v2.set(v2.PRE_COPY_P2P)
        yield "PRE_COPY_P2P"
        guest.v2.set(v2.STOP_COPY)
        yield "STOP_COPY"
        while data := file.read(PIECE):
            image += data
            yield "bytes in STOP_COPY"
        guest.v2.set(v2.STOP)
        yield "STOP"
    yield "a closed file"


def _load_v2(guest, image):
    with guest.v2.set(v2.RESUMING) as file:
        yield "RESUMING"
        for piece in _pieces(image):
            file.write(piece)
            yield "bytes"
        guest.v2.set(v2.STOP)
        yield "STOP"
    guest.v2.set(v2.RUNNING_P2P)
    yield "RUNNING_P2P"
    guest.v2.set(v2.RUNNING)
    yield "RUNNING"


SAVE = {"region_2018": _save_region_2018, "region_v1": _save_region_v1, "v2": _save_v2}
LOAD = {"region_2018": _load_region_2018, "region_v1": _load_region_v1, "v2": _load_v2}


def count(steps):
    """Takes all steps; returns their number."""
    return sum(1 for _ in steps)
