# SPDX-License-Identifier: GPL-2.0-only
"""A client that accesses the header in all orders while it saves, against a model.

The model is the text of the uAPI header. The steps are one long sequence that contains each
sequence of LENGTH steps. The client copies from the data section as late as it may. Whatever the
order, the image is the one that a plain client gets, and each written page is reported once.
"""

import itertools
import struct
from collections import Counter
from dataclasses import dataclass, field

import pytest

from lib.protocols import region_2018
from lib.protocols.region_2018 import PAGE

LENGTH = 4

# The number of pages of a query; a transfer writes the two in the middle.
SPAN = 8
WRITTEN = 0b00011000

# Bytes of a buffer, so that an image has dozens of buffers.
THRESHOLD = 64


def all_orders(letters, length):
    """Yields letters in which each sequence of `length` of them occurs once (de Bruijn)."""
    word = [0] * length * len(letters)

    def extend(at, period):
        if at > length:
            if length % period == 0:
                yield from word[1 : period + 1]
            return
        word[at] = word[at - period]
        yield from extend(at + 1, period)
        for letter in range(word[at - period] + 1, len(letters)):
            word[at] = letter
            yield from extend(at + 1, at)

    run = [letters[number] for number in extend(1, 1)]
    yield from run
    yield from run[: length - 1]


@dataclass
class Nothing:
    """The section holds nothing for the client."""


@dataclass
class Buffer:
    """The section holds bytes of the image, which the client may have copied already."""

    size: int
    done: bool = False


@dataclass
class Bitmap:
    """The section holds the bitmap of a query of a span."""

    span: int
    bits: bytes


@dataclass
class Session:
    """What the client of one save knows, and what the driver must report to it."""

    guest: object
    state: int
    section: object = field(default_factory=Nothing)
    image: bytes = b""
    armed: int = None
    copied: int = 0
    # Spans that were written and not reported yet; how often each must be reported, and was.
    written: set = field(default_factory=set)
    due: Counter = field(default_factory=Counter)
    told: Counter = field(default_factory=Counter)
    starts: object = field(default_factory=lambda: itertools.cycle(range(32)))
    over: bool = False

    def __post_init__(self):
        region = self.guest.region
        region.state = region_2018.SETUP
        region.set(region_2018.THRESHOLD, THRESHOLD)

    def write(self, span):
        """Makes the device write the two pages in the middle of a span."""
        self.guest.write_memory((span * SPAN + 4) * PAGE - 8, 16)
        self.due[span] += span not in self.written
        self.written.add(span)

    def begin(self):
        """Takes the device to the state in which the steps are taken."""
        if self.state == region_2018.PRECOPY:
            self.guest.region.state = region_2018.PRECOPY
        self.enter(self.state)

    def enter(self, state):
        self.done()
        self.guest.region.state = self.state = state

    # What the client copies, and when it must.

    def take(self):
        if isinstance(self.section, Buffer) and not self.section.done:
            self.image += self.guest.region.area[: self.section.size]
            self.section.done = True
        elif isinstance(self.section, Bitmap):
            found = self.guest.region.area[: len(self.section.bits)]
            assert found == self.section.bits
            self.told[self.section.span] += bool(found)
            self.section = Nothing()

    def done(self):
        """Ends the use of the section, as reading a pending field or writing the state does."""
        self.take()
        self.section = Nothing()

    # What a read must return.

    def check_size(self, size):
        if isinstance(self.section, Nothing):
            assert size <= THRESHOLD
            self.section = Buffer(size)
            self.over = size == 0
        elif isinstance(self.section, Buffer):
            assert size == self.section.size
        else:
            assert size == len(self.section.bits) == (self.copied + 7) // 8

    def check_copied(self, copied):
        if self.armed is not None:
            is_dirty = self.armed in self.written
            self.written.discard(self.armed)
            self.copied = SPAN if is_dirty else 0
            self.section = Bitmap(self.armed, bytes([WRITTEN]) if is_dirty else b"")
            self.armed = None
        assert copied == self.copied

    def check_data(self, offset, size):
        assert offset == self.guest.region.data_offset
        self.check_size(size)

    # The steps.

    def pending(self):
        self.done()
        return self.guest.region.pending()

    def offset(self):
        assert self.guest.region.get(region_2018.DATA_OFFSET) == self.guest.region.data_offset

    def offset_halves(self):
        at = region_2018.DATA_OFFSET[0]
        halves = self.guest.region.raw_read(at, 4), self.guest.region.raw_read(at + 4, 4)
        assert int.from_bytes(b"".join(halves), "little") == self.guest.region.data_offset

    def size(self):
        self.check_size(self.guest.region.get(region_2018.DATA_SIZE))

    def data(self):
        self.check_data(
            *struct.unpack("<QQ", self.guest.region.raw_read(region_2018.DATA_OFFSET[0], 16))
        )

    def read_copied(self):
        self.check_copied(self.guest.region.get(region_2018.COPIED))

    def data_to_copied(self):
        offset, size, *_, copied = struct.unpack(
            "<5Q", self.guest.region.raw_read(region_2018.DATA_OFFSET[0], 40)
        )
        # The access runs the query before it reads the size.
        self.check_copied(copied)
        self.check_data(offset, size)

    def header(self):
        self.done()
        state, *fields = struct.unpack("<I9Q", self.guest.region.header())
        assert state == self.state
        self.check_copied(fields[8])
        self.check_data(fields[4], fields[5])

    def arm(self):
        self.take()
        self.armed = min(self.written) if self.written else next(self.starts)
        start = self.guest.IOVA + self.armed * SPAN * PAGE
        self.guest.region.raw_write(region_2018.START_ADDR[0], struct.pack("<QQ", start, SPAN))

    def same_state(self):
        self.enter(self.state)

    STEPS = (pending, offset, offset_halves, size, data, read_copied, data_to_copied, header, arm,
             same_state)

    def finish(self):
        """Takes the rest in the plain order; the image and the reported pages must be complete."""
        self.enter(region_2018.STOPNCOPY)
        self.over = False
        while not self.over:
            left = sum(self.pending())
            self.size()
            assert self.over == (left == 0)
        while self.written:
            self.arm()
            self.read_copied()
        self.enter(region_2018.SAVE_COMPLETED)
        assert +self.told == self.due
        return self.image


@pytest.mark.writes_memory
@pytest.mark.parametrize("state", [region_2018.PRECOPY, region_2018.STOPNCOPY])
def test_all_orders(pair, rng, state, count):
    source, target = pair
    region = source.region
    source.randomise(rng)
    steps = all_orders(Session.STEPS, LENGTH)
    sessions = taken = pages = 0
    step = next(steps)
    while step is not None:
        session = Session(source, state)
        for span in range(3):
            session.write(span)
        session.begin()
        history = []
        while step is not None and not session.over:
            # A running device writes now and then.
            if state == region_2018.PRECOPY and step == Session.arm and len(history) % 150 == 149:
                session.write(31)
            history.append(step.__name__)
            try:
                step(session)
            except AssertionError as error:
                raise AssertionError(f"after {history[-LENGTH * 2 :]}: {error}") from error
            step = next(steps, None)
        image = session.finish()
        # A client without queries gets the same; nothing has changed since.
        region.state = region_2018.RUNNING
        region.set(region_2018.THRESHOLD, 0)
        expected = region.save(precopy=state == region_2018.PRECOPY)
        assert image == expected
        region.state = region_2018.RUNNING
        sessions, taken, pages = sessions + 1, taken + len(history), pages + 2 * session.told.total()
    registers = source.state()
    target.region.load(image)
    assert target.state() == registers
    count(f"{taken} accesses in all orders of {LENGTH}, {sessions} saves, {pages} dirty pages")
