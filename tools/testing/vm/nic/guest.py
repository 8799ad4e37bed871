# SPDX-License-Identifier: GPL-2.0-only
"""A guest with a virtual function, which it drives as igbvf does, but with both queues."""

from devices.igbvf import QUEUES, Igbvf
from devices.igbvf_rings import Memory, ReceiveRing, TransmitRing
from lib import vfio
from lib.vfio import Device, EventFd

IOVA = 0x1000000
SIZE = 4 << 20
# Vectors as igbvf assigns them.
SENT, RECEIVED, OTHER = range(3)


class NicGuest:
    """An open virtual function, memory for its rings, and the eventfds of its vectors."""

    def __init__(self, bdf, size=SIZE, space=None):
        self.bdf = bdf
        self.device = Device(bdf, space)
        self.events = []
        try:
            self.vf = Igbvf(self.device)
            self.memory = Memory(vfio.Memory(size), IOVA)
            self.device.map(self.memory.memory, IOVA)
            self.events = [EventFd() for _ in range(3)]
            self.receivers, self.senders = [], []
        except BaseException:
            self.close()
            raise

    def close(self):
        self.device.close()
        for event in self.events:
            event.close()
        self.events = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def begin(self, mac, **ring):
        """Resets the function, sets its MAC, and starts both queues and the interrupts."""
        self.senders = [TransmitRing(self.vf, self.memory, number) for number in range(QUEUES)]
        self.receivers = [
            ReceiveRing(self.vf, self.memory, number, **ring) for number in range(QUEUES)
        ]
        self.again(mac)

    def again(self, mac):
        """Starts the function again after a reset, with the rings it had."""
        given = self.vf.reset()
        assert self.vf.set_mac(mac) or mac == given, "the PF does not take the MAC"
        self.vf.signal(*self.events)
        self.vf.assign_vectors([RECEIVED] * QUEUES, [SENT] * QUEUES, OTHER)
        for queue in self.senders + self.receivers:
            queue.start()
        self.vf.enable_interrupts()

    @property
    def receiver(self):
        """Queue 0, which receives everything unless the PF distributes."""
        return self.receivers[0]

    def send(self, frame, queue=0, **how):
        """Sends a frame and waits until it is sent."""
        ring = self.senders[queue]
        ring.queue(frame, **how)
        ring.send()
        ring.finish()

    def receive(self, number=1, queue=0):
        """Returns the data of that many packets, which must not be more."""
        packets = self.receivers[queue].wait(number)
        assert len(packets) == number
        return [packet.data for packet in packets]

    def receive_until(self, last):
        """Returns the data of the packets up to one."""
        found = []

        def arrived():
            found.extend(packet.data for packet in self.receiver.take())
            return last in found

        self.vf.wait(arrived, what="the last packet does not arrive")
        return found

    def is_interrupted(self, vector, seconds=10):
        """Waits for an interrupt."""
        self.vf.wait(self.events[vector].take, seconds, f"vector {vector} is not signalled")
