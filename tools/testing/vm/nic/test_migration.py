# SPDX-License-Identifier: GPL-2.0-only
"""A guest moves from one virtual function to another and notices nothing."""

import threading
import time

import pytest

from devices import igbvf
from devices.igbvf_rings import SPLIT_ALWAYS
from nic.conftest import MACS
from nic.guest import RECEIVED, SENT
from nic.host import datagram, frame
from nic.moves import PROTOCOLS, Mobile

MAC = MACS[0]
GROUP = bytes.fromhex("01005e000105")

# What a guest reads back, of queue 0; the heads and tails of a queue in use differ in time.
REGISTERS = [
    igbvf.EIAC, igbvf.EIAM, igbvf.EITR, igbvf.EITR + 4, igbvf.EITR + 8, igbvf.IVAR0,
    igbvf.IVAR_MISC, igbvf.VMBMEM, igbvf.VMBMEM + 60,
]
QUEUE_REGISTERS = [
    igbvf.RDBAL, igbvf.RDBAH, igbvf.RDLEN, igbvf.SRRCTL, igbvf.RXCTL, igbvf.RDH, igbvf.RDT,
    igbvf.RXDCTL, igbvf.TDBAL, igbvf.TDBAH, igbvf.TDLEN, igbvf.TXCTL, igbvf.TDH, igbvf.TDT,
    igbvf.TXDCTL, igbvf.TDWBAL, igbvf.TDWBAH,
]


def state(vf):
    """Returns the registers that both functions must agree on."""
    registers = REGISTERS + [
        register + queue * igbvf.QUEUE for queue in range(2) for register in QUEUE_REGISTERS
    ]
    return {hex(register): vf.read(register) for register in registers} | vf.statistics()


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    return request.param


@pytest.fixture
def source(functions, protocol):
    """A guest in use on the first function."""
    with Mobile(functions[0], protocol) as guest:
        guest.begin(MAC)
        yield guest


@pytest.fixture
def target(functions, protocol):
    """A fresh second function."""
    with Mobile(functions[1], protocol) as guest:
        yield guest


def exchange(guest, peer, rng, number=5):
    """Frames both ways through all queues that the card gives, each compared."""
    sent = [frame(MAC, peer.mac, rng.randbytes(rng.randint(46, 1500))) for _ in range(number)]
    for data in sent:
        peer.send(data)
    assert guest.receive(number) == sent
    for queue in range(2):
        for pieces in (1, 3):
            data = frame(peer.mac, MAC, rng.randbytes(rng.randint(46, 1500)))
            guest.send(data, queue, pieces=pieces)
            assert peer.receive() == [data]


@pytest.mark.parametrize("precopy", (True, False), ids=("precopy", "stopped"))
def test_registers_rings_and_packets(source, target, peer, rng, precopy):
    vf = source.vf
    vf.write(igbvf.EITR + 4 * SENT, 0x1F0)
    exchange(source, peer, rng)
    # The guest has not looked at these yet.
    waiting = [frame(MAC, peer.mac, rng.randbytes(99)) for _ in range(4)]
    for data in waiting:
        peer.send(data)
    vf.wait(lambda: vf.read(igbvf.RDH) == 9)
    before = state(vf)
    source.move_to(target, precopy)
    assert state(target.vf) == before
    # The source's function is reset by this, and may have its packets no longer.
    source.close()
    assert target.receive(4) == waiting
    for _ in range(8):
        exchange(target, peer, rng)


def test_back_and_forth(functions, protocol, peer, rng):
    guest = Mobile(functions[0], protocol)
    try:
        guest.begin(MAC)
        for number in range(1, 7):
            exchange(guest, peer, rng)
            other = Mobile(functions[number % 2], protocol)
            guest.move_to(other, precopy=number % 3 != 0)
            guest.close()
            guest = other
        exchange(guest, peer, rng)
    finally:
        guest.close()


def test_the_source_goes_on(source, peer, rng):
    exchange(source, peer, rng)
    before = state(source.vf)
    source.save()
    source.by.run()
    assert state(source.vf) == before
    exchange(source, peer, rng)


def test_requests_are_made_again(source, target, peer):
    """Multicasts, a VLAN, large frames and a second address are the PF's to remember."""
    second = bytes.fromhex("02525400000c")
    vf = source.vf
    assert vf.set_multicast(GROUP)
    assert vf.set_vlan(55)
    assert vf.set_max_frame(9018)
    assert vf.accepts(igbvf.SET_MAC | igbvf.MAC_FILTER_ADD, *igbvf.mac_words(second))
    assert not vf.accepts(igbvf.SET_PROMISC | 4 << 16)
    # igbvf's own request to clear the list has no address, which the PF refuses.
    assert not vf.accepts(igbvf.SET_MAC | igbvf.MAC_FILTER_CLR, 0, 0)
    source.move_to(target)
    source.close()
    tagged = frame(MAC, peer.mac, b"tagged")
    frames = [
        frame(GROUP, peer.mac, b"group"), frame(second, peer.mac, b"second"),
        frame(MAC, peer.mac, bytes(8000)),
    ]
    peer.send(tagged[:12] + b"\x81\0\0\x37" + tagged[12:])
    for data in frames:
        peer.send(data)
    packets = target.receiver.wait(4)
    assert [packet.data for packet in packets] == [tagged] + frames
    assert packets[0].vlan == 55
    assert target.vf.accepts(igbvf.SET_LPE, 1518)


def test_requests_that_are_taken_back_are_not_made(source, target, peer):
    assert source.vf.set_multicast(GROUP)
    assert source.vf.set_multicast()
    assert source.vf.set_vlan(55)
    assert source.vf.set_vlan(55, on=False)
    source.move_to(target)
    source.close()
    plain = frame(MAC, peer.mac, b"plain")
    peer.send(frame(GROUP, peer.mac, b"group"))
    peer.send(plain[:12] + b"\x81\0\0\x37" + plain[12:])
    peer.send(plain)
    assert target.receive() == [plain]


def test_a_request_under_way(source, target, peer, rng):
    """The guest has asked, and finds the answer at the target."""
    source.vf.post(igbvf.SET_LPE, 4000)
    source.move_to(target)
    source.close()
    answer = target.vf.message()[0]
    assert answer & ~igbvf.CTS == igbvf.SET_LPE | igbvf.ACKED
    exchange(target, peer, rng)


def test_statistics_go_on(source, target, peer, rng):
    exchange(source, peer, rng)
    before = source.vf.statistics()
    assert before[igbvf.VFGPRC] >= 5
    source.move_to(target)
    source.close()
    assert target.vf.statistics() == before
    data = frame(MAC, peer.mac, rng.randbytes(1000))
    peer.send(data)
    target.receive()
    grown = target.vf.statistics()
    assert grown[igbvf.VFGPRC] == before[igbvf.VFGPRC] + 1
    assert grown[igbvf.VFGORC] == before[igbvf.VFGORC] + len(data) + igbvf.FCS


def test_a_masked_interrupt_is_not_lost(source, target, peer):
    source.vf.write(igbvf.EIMC, igbvf.ALL_VECTORS)
    peer.send(frame(MAC, peer.mac, b"masked"))
    source.vf.wait(lambda: source.vf.read(igbvf.RDH) == 1)
    source.move_to(target)
    source.close()
    time.sleep(0.1)
    assert [event.take() for event in target.events] == [0, 0, 0]
    target.vf.enable_interrupts()
    target.is_interrupted(RECEIVED)
    assert target.receive() == [frame(MAC, peer.mac, b"masked")]


def test_interrupts_go_on(source, target, peer):
    source.move_to(target)
    source.close()
    for number in range(5):
        time.sleep(0.05)
        for event in target.events:
            event.take()
        target.vf.enable_interrupts()
        peer.send(frame(MAC, peer.mac, b"%d" % number))
        target.is_interrupted(RECEIVED)
        target.receive()
        target.send(frame(peer.mac, MAC, b"%d" % number))
        target.is_interrupted(SENT)


def test_nothing_moves_while_stopped(source, peer, rng):
    exchange(source, peer, rng)
    source.by.begin()
    source.by.stop()
    before = source.memory.memory.bytes[:]
    for event in source.events:
        event.take()
    for _ in range(5):
        peer.send(frame(MAC, peer.mac, rng.randbytes(100)))
    time.sleep(0.2)
    assert source.memory.memory.bytes[:] == before
    assert [event.take() for event in source.events] == [0, 0, 0]
    source.by.finish()
    source.by.run()
    exchange(source, peer, rng)


class Stream(threading.Thread):
    """The peer sends numbered frames all the time."""

    def __init__(self, peer):
        super().__init__()
        self.peer, self.number, self.done = peer, 0, threading.Event()

    def data(self, number):
        return frame(MAC, self.peer.mac, number.to_bytes(4, "big") * (20 + number % 300))

    def run(self):
        while not self.done.is_set():
            self.peer.send(self.data(self.number))
            self.number += 1
            time.sleep(0.001)


@pytest.mark.parametrize("precopy", (True, False), ids=("precopy", "stopped"))
def test_a_stream_is_in_order_and_whole(source, target, peer, precopy):
    """Packets may be lost while the device is stopped; none is damaged, doubled or late."""
    stream = Stream(peer)
    stream.start()
    try:
        numbers = []

        def look(guest, number):
            for packet in guest.receiver.wait(number):
                found = int.from_bytes(packet.data[14:18], "big")
                assert packet.data == stream.data(found)
                numbers.append(found)

        look(source, 60)
        source.move_to(target, precopy)
        source.close()
        look(target, 60)
    finally:
        stream.done.set()
        stream.join()
    assert numbers == sorted(set(numbers))


def test_head_write_back_and_split_headers(functions, protocol, target, peer, rng):
    with Mobile(functions[0], protocol) as source:
        source.begin(MAC, header=128)
        source.receiver.start(SPLIT_ALWAYS)
        ring = source.senders[1]
        ring.start(head_write_back=True)
        source.move_to(target)
    for number in range(20):
        data = datagram(MAC, peer.mac, rng.randbytes(300))
        peer.send(data)
        (packet,) = target.receiver.wait(1)
        assert (packet.header, packet.data) == (data[:42], data)
        data = frame(peer.mac, MAC, rng.randbytes(99))
        ring.queue(data)
        ring.send()
        assert peer.receive() == [data]
        target.vf.wait(lambda: ring.written_head() in (number % 16, (number + 1) % 16))


def test_a_mac_that_the_target_refuses(source, target, card, peer, rng):
    """The PF's administrator has given the target's function another MAC."""
    exchange(source, peer, rng)
    image = source.save()
    card.set_vf(1, "mac", MACS[1].hex(":"))
    try:
        with pytest.raises(OSError):
            target.load(image)
    finally:
        card.set_vf(1, "mac", "00:00:00:00:00:00")
    source.by.run()
    exchange(source, peer, rng)


def test_a_vlan_that_the_target_refuses(source, target, card, peer, rng):
    assert source.vf.set_vlan(55)
    image = source.save()
    card.set_vf(1, "vlan", "9")
    try:
        with pytest.raises(OSError):
            target.load(image)
    finally:
        card.set_vf(1, "vlan", "0")
    source.by.run()
    exchange(source, peer, rng)
