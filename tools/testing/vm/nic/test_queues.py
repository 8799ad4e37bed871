# SPDX-License-Identifier: GPL-2.0-only
"""Packets through both queues, each compared with what was sent."""

import pytest

from devices import igbvf
from devices.igbvf_rings import SPLIT, SPLIT_ALWAYS, SPLIT_TYPES
from nic.conftest import MACS
from nic.guest import NicGuest
from nic.host import datagram, frame
from nic.steering import queue_1_receives

BROADCAST = b"\xff" * 6
SIZES = (0, 1, 45, 46, 47, 200, 1023, 1024, 1499, 1500)


def test_receives_frames_of_every_size(guest, peer, rng):
    sent = [frame(MACS[0], peer.mac, rng.randbytes(size)) for size in SIZES]
    for data in sent:
        peer.send(data)
    assert guest.receive(len(sent)) == sent


def test_receives_more_than_a_ring_holds(guest, peer, rng):
    for _ in range(6):
        sent = [frame(MACS[0], peer.mac, rng.randbytes(rng.randint(46, 1500))) for _ in range(15)]
        for data in sent:
            peer.send(data)
        assert guest.receive(len(sent)) == sent


def test_a_full_ring_loses_the_rest(guest, peer, rng):
    sent = [frame(MACS[0], peer.mac, rng.randbytes(46)) for _ in range(30)]
    for data in sent:
        peer.send(data)
    # All but one slot of the ring.
    peer.is_quiet()
    packets = guest.receiver.take(fill=False)
    assert [packet.data for packet in packets] == sent[:15]
    guest.receiver.fill()
    # What came first after that arrives: nothing before it may be made up.
    peer.send(sent[29])
    found = guest.receive_until(sent[29])
    assert [one for one in found if one not in sent] == []


@pytest.mark.parametrize("queue", range(2))
def test_sends_frames_of_every_size(guest, peer, rng, queue):
    for size in SIZES[4:]:
        data = frame(peer.mac, MACS[0], rng.randbytes(size))
        guest.send(data, queue)
        assert peer.receive() == [data]


@pytest.mark.parametrize("queue", range(2))
def test_sends_a_frame_in_pieces(guest, peer, rng, queue):
    for pieces in range(1, 8):
        data = frame(peer.mac, MACS[0], rng.randbytes(1400))
        guest.send(data, queue, pieces=pieces)
        assert peer.receive() == [data]


def test_queues_send_independently(guest, peer, rng):
    """Frames wait in both rings until the tails are written, in the other order."""
    waiting = [[frame(peer.mac, MACS[0], rng.randbytes(99)) for _ in range(5)] for _ in range(2)]
    for queue in range(2):
        for data in waiting[queue]:
            guest.senders[queue].queue(data)
    peer.is_quiet()
    for queue in (1, 0):
        guest.senders[queue].send()
        guest.senders[queue].finish()
        assert peer.receive(5) == waiting[queue]


def test_both_queues_receive(card, guest, peer, rng):
    """The PF distributes; its driver never has both this and virtual functions with QEMU's igb."""
    to_0 = [datagram(MACS[0], peer.mac, rng.randbytes(300)) for _ in range(5)]
    to_1 = [datagram(MACS[0], peer.mac, rng.randbytes(300)) for _ in range(40)]
    for data in to_0:
        peer.send(data)
    assert guest.receive(5) == to_0
    with queue_1_receives(card, 0):
        for at in range(0, 40, 10):
            for data in to_1[at : at + 10]:
                peer.send(data)
            assert guest.receive(10, queue=1) == to_1[at : at + 10]
    assert guest.receiver.take() == []
    peer.send(to_0[0])
    assert guest.receive() == to_0[:1]
    assert guest.receivers[1].take() == []


def test_head_write_back(guest, peer, rng):
    for queue, ring in enumerate(guest.senders):
        ring.start(head_write_back=True)
        for number in range(20):
            data = frame(peer.mac, MACS[0], rng.randbytes(99))
            ring.queue(data)
            ring.send()
            # The model writes the head before it counts the frame.
            guest.vf.wait(lambda: ring.written_head() in (number % 16, (number + 1) % 16))
            assert peer.receive() == [data], queue
        ring.sent = []


def test_functions_reach_each_other(guest, functions, peer, rng):
    with NicGuest(functions[1]) as other:
        other.begin(MACS[1])
        data = frame(MACS[1], MACS[0], rng.randbytes(600))
        guest.send(data)
        assert other.receive() == [data]
        data = frame(BROADCAST, MACS[1], rng.randbytes(600))
        other.send(data, queue=1)
        assert guest.receive() == [data]
        assert peer.receive() == [data]
        # A frame for a function of the card stays on the card.
        peer.is_quiet()


@pytest.mark.parametrize("kind", (SPLIT, SPLIT_ALWAYS), ids=("split", "always"))
def test_headers_are_split_off(vf, peer, rng, kind):
    vf.begin(MACS[0], header=128)
    vf.vf.write(igbvf.PSRTYPE, SPLIT_TYPES)
    ring = vf.receiver
    ring.start(kind)
    for size in (200, 900, 1400):
        data = datagram(MACS[0], peer.mac, rng.randbytes(size))
        peer.send(data)
        (packet,) = ring.wait(1)
        # Ethernet, IPv4, UDP.
        assert (packet.header, packet.data) == (data[: 14 + 20 + 8], data)
    data = frame(MACS[0], peer.mac, rng.randbytes(500))
    peer.send(data)
    (packet,) = ring.wait(1)
    assert packet.data == data
    assert packet.header == (data[:128] if kind == SPLIT_ALWAYS else b"")


def test_a_long_frame_takes_several_buffers(guest, peer, rng):
    assert guest.vf.set_max_frame(9000 + 18)
    data = frame(MACS[0], peer.mac, rng.randbytes(8900))
    peer.send(data)
    (packet,) = guest.receiver.wait(1)
    assert (packet.data, packet.buffers) == (data, 5)
    # The network of the host takes no more than its own MTU from here.
    assert guest.vf.set_max_frame(1518)
    peer.send(data)
    short = frame(MACS[0], peer.mac, b"short")
    peer.send(short)
    assert guest.receive() == [short]


def test_vlan_tags(guest, peer, rng):
    """The card inserts the tag that a context descriptor has, and strips it from what arrives."""
    assert guest.vf.set_vlan(55)
    tag = b"\x81\0\0\x37"
    data = frame(peer.mac, MACS[0], rng.randbytes(100))
    for queue in range(2):
        guest.send(data, queue, vlan=55)
        assert peer.receive() == [data[:12] + tag + data[12:]]
    data = frame(MACS[0], peer.mac, rng.randbytes(100))
    peer.send(data[:12] + tag + data[12:])
    (packet,) = guest.receiver.wait(1)
    assert (packet.data, packet.vlan) == (data, 55)
    peer.send(data[:12] + b"\x81\0\0\x38" + data[12:])
    peer.send(data)
    (packet,) = guest.receiver.wait(1)
    assert (packet.data, packet.vlan) == (data, None)


def test_statistics(guest, peer, rng):
    """They count on the function, each packet with its FCS."""
    before = guest.vf.statistics()
    sizes = [rng.randint(60, 1500) for _ in range(20)]
    for size in sizes[:12]:
        peer.send(frame(MACS[0], peer.mac, rng.randbytes(size - 14)))
    guest.receive(12)
    for number, size in enumerate(sizes[12:]):
        guest.send(frame(peer.mac, MACS[0], rng.randbytes(size - 14)), number % 2)
    peer.receive(8)
    after = guest.vf.statistics()
    grown = {register: after[register] - before[register] for register in before}
    assert grown == {
        igbvf.VFGPRC: 12, igbvf.VFGORC: sum(sizes[:12]) + 12 * igbvf.FCS,
        igbvf.VFGPTC: 8, igbvf.VFGOTC: sum(sizes[12:]) + 8 * igbvf.FCS, igbvf.VFMPRC: 0,
    }
    # A read leaves them as they are.
    assert guest.vf.statistics() == after
