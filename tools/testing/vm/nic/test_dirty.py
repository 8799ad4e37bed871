# SPDX-License-Identifier: GPL-2.0-only
"""The pages that a virtual function writes, all of them and no others.

A copy of the guest's memory follows it as a migration does: at first all of it, then the pages that
the guest has written, and those that are reported for the device: by the region of 2018, or by the
container.
"""

import pytest

from devices.igbvf_rings import PAGE, SPLIT_ALWAYS, pages_of
from nic.conftest import MACS
from nic.host import datagram, frame
from nic.moves import PROTOCOLS, Mobile

MAC = MACS[0]


class Follower:
    """The copy at the target."""

    def __init__(self, guest):
        self.guest = guest
        #: All pages that were ever reported.
        self.reported = set()
        guest.by.track()
        self.copy = bytearray(guest.memory.memory.bytes[:])
        guest.dirty()
        guest.memory.written.clear()

    def _page(self, memory, address):
        at = address - self.guest.memory.iova
        return memory[at : at + PAGE]

    def differs(self):
        """Returns the pages that the copy does not have as they are."""
        memory = self.guest.memory
        return {
            page
            for page in pages_of(memory.iova, memory.memory.size)
            if self._page(memory.memory.bytes, page) != self._page(self.copy, page)
        }

    def sync(self):
        """Copies what has changed; returns the pages that the device is said to have written."""
        memory = self.guest.memory
        reported = self.guest.dirty()
        self.reported |= reported
        written, memory.written = memory.written, set()
        for page in reported | written:
            at = page - memory.iova
            self.copy[at : at + PAGE] = self._page(memory.memory.bytes, page)
        return reported


@pytest.fixture(params=PROTOCOLS)
def guest(request, functions):
    """A guest that is being migrated, in pre-copy."""
    with Mobile(functions[0], request.param) as guest:
        if not guest.by.has_precopy:
            pytest.skip("the driver has no pre-copy by this protocol")
        yield guest


def own(guest):
    """Returns the pages that may be reported at any time: descriptors and written heads."""
    pages = set()
    for ring in guest.receivers + guest.senders:
        pages |= ring.pages()
    for ring in guest.senders:
        pages |= set(pages_of(ring.word, 4))
    return pages


def ends_equal(follower):
    """Stops the device, and asserts that the last report makes the copy complete."""
    guest = follower.guest
    guest.by.stop()
    follower.sync()
    assert follower.differs() == set()
    # The stopped device writes nothing more.
    assert follower.sync() == set()
    guest.by.finish()
    assert follower.differs() == set()


@pytest.mark.parametrize("kind", ("plain", "split"))
def test_every_page_that_received(guest, peer, rng, kind):
    guest.begin(MAC, header=128 if kind == "split" else 0)
    if kind == "split":
        guest.receiver.start(SPLIT_ALWAYS)
    guest.by.begin()
    follower = Follower(guest)
    filled = set()
    for _ in range(12):
        number = rng.randint(0, 15)
        for _ in range(number):
            peer.send(datagram(MAC, peer.mac, rng.randbytes(rng.randint(200, 1400))))
        guest.vf.wait(
            lambda: guest.receiver.read(guest.receiver.head)
            == (guest.receiver.next + number) % guest.receiver.slots
        )
        new = follower.differs() - own(guest)
        filled |= new
        # The guest looks before or after the client asks.
        early = rng.getrandbits(1)
        if early:
            guest.receive(number)
        reported = follower.sync() - own(guest)
        if guest.by.tells_at_once:
            assert reported == new
            assert follower.sync() - own(guest) == set()
        if not early:
            guest.receive(number)
    ends_equal(follower)
    # Those that have been filled, and no others.
    assert follower.reported - own(guest) == filled


def test_sending_writes_descriptors_only(guest, peer, rng):
    guest.begin(MAC)
    guest.senders[1].start(head_write_back=True)
    guest.by.begin()
    follower = Follower(guest)
    for number in range(30):
        guest.send(frame(peer.mac, MAC, rng.randbytes(500)))
        ring = guest.senders[1]
        ring.queue(frame(peer.mac, MAC, rng.randbytes(500)))
        ring.send()
        peer.receive(2)
        if number % 7 == 0:
            follower.sync()
    ends_equal(follower)
    assert follower.reported <= own(guest)


def test_a_long_frame_marks_all_its_buffers(guest, peer, rng):
    guest.begin(MAC)
    assert guest.vf.set_max_frame(9018)
    guest.by.begin()
    follower = Follower(guest)
    for _ in range(5):
        data = frame(MAC, peer.mac, rng.randbytes(8000))
        peer.send(data)
        assert guest.receive() == [data]
    ends_equal(follower)


def test_rings_that_begin_while_tracked(guest, peer, rng):
    """The guest's driver starts, and starts again, during pre-copy."""
    guest.by.begin()
    follower = Follower(guest)
    guest.begin(MAC)
    for _ in range(3):
        for _ in range(20):
            data = frame(MAC, peer.mac, rng.randbytes(700))
            peer.send(data)
            assert guest.receive() == [data]
        follower.sync()
        guest.again(MAC)
    ends_equal(follower)


def test_descriptors_that_the_device_has_from_before(guest, peer, rng):
    """The guest has posted its buffers before anybody tracked, and does not touch the ring."""
    guest.begin(MAC)
    peer.send(frame(MAC, peer.mac, rng.randbytes(700)))
    guest.receive()
    guest.by.begin()
    follower = Follower(guest)
    for _ in range(10):
        peer.send(frame(MAC, peer.mac, rng.randbytes(700)))
    guest.vf.wait(lambda: guest.receiver.read(guest.receiver.head) == 11)
    ends_equal(follower)
    guest.by.run()
    assert len(guest.receiver.wait(10)) == 10
