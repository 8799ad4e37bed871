# SPDX-License-Identifier: GPL-2.0-only
"""The link goes, the PF is reset, the function is reset or removed, all while it is in use."""

import pathlib
import signal
import subprocess
import sys

import pytest

from devices import igbvf
from lib import modules, vfio
from lib.plug import InAWhile, wait_until
from lib.vfio import REQ, EventFd
from lifetime import outer
from nic.conftest import MACS
from nic.guest import NicGuest
from nic.host import frame


@pytest.fixture(scope="session")
def monitor():
    with outer.Monitor() as monitor:
        yield monitor


def works(guest, peer, rng):
    """Asserts that packets go both ways."""
    data = frame(MACS[0], peer.mac, rng.randbytes(300))
    peer.send(data)
    assert guest.receive() == [data]
    for queue in range(2):
        data = frame(peer.mac, MACS[0], rng.randbytes(300))
        guest.send(data, queue)
        assert peer.receive() == [data]


def test_link_down_and_up(guest, card, peer, monitor, rng):
    works(guest, peer, rng)
    assert guest.vf.link_is_up()
    late = frame(MACS[0], peer.mac, b"late")
    monitor.execute("set_link", name="nic", up=False)
    try:
        guest.vf.wait(lambda: not guest.vf.link_is_up())
        peer.send(late)
        card.wait_for_link(False)
    finally:
        monitor.execute("set_link", name="nic", up=True)
    card.wait_for_link()
    guest.vf.wait(guest.vf.link_is_up)
    # QEMU's hub keeps frames for a card without a link.
    assert guest.receive() == [late]
    works(guest, peer, rng)


def test_pf_reset(guest, card, peer, rng):
    """The PF's interface goes down, which resets the card, and up; the guest starts again."""
    works(guest, peer, rng)
    card.set("down")
    try:
        assert not guest.vf.link_is_up()
    finally:
        card.up()
    # Its driver learns of it from the mailbox: the PF has done a reset, and nothing is clear to
    # send until the function has done one.
    guest.vf.wait(lambda: guest.vf.mailbox() & igbvf.RSTD)
    assert not guest.receiver.is_enabled()
    guest.vf.signal()
    guest.again(MACS[0])
    works(guest, peer, rng)


def test_function_reset_by_the_guest(guest, peer, rng):
    works(guest, peer, rng)
    guest.vf.write(igbvf.CTRL, igbvf.CTRL_RST)
    for ring in guest.receivers + guest.senders:
        assert not ring.is_enabled()
    peer.send(frame(MACS[0], peer.mac, b"lost"))
    guest.vf.signal()
    guest.again(MACS[0])
    works(guest, peer, rng)


def test_function_level_reset(guest, peer, rng):
    """VFIO_DEVICE_RESET. PCI settings go too, so the client enables the device again."""
    works(guest, peer, rng)
    guest.vf.signal()
    guest.device.reset()
    guest.device.enable(vfio.COMMAND_MEMORY | vfio.COMMAND_MASTER)
    for ring in guest.receivers + guest.senders:
        assert not ring.is_enabled()
    guest.again(MACS[0])
    works(guest, peer, rng)


def test_close_and_open(functions, peer, rng):
    for _ in range(3):
        with NicGuest(functions[0]) as guest:
            for ring in (igbvf.RXDCTL, igbvf.TXDCTL):
                for queue in range(2):
                    assert not guest.vf.read(ring + queue * igbvf.QUEUE) & igbvf.QUEUE_ENABLE
            guest.begin(MACS[0])
            works(guest, peer, rng)


VICTIM = """
import sys, time
from nic.conftest import MACS
from nic.guest import NicGuest
guest = NicGuest(sys.argv[1])
guest.begin(MACS[0])
print("ready", flush=True)
time.sleep(100)
"""


def test_kill_in_use(functions, peer, rng):
    """The memory that the function received into is gone; the kernel's log shows no DMA fault."""
    with subprocess.Popen(
        [sys.executable, "-B", "-c", VICTIM, functions[0]],
        cwd=pathlib.Path(__file__).parents[1], stdout=subprocess.PIPE, text=True,
    ) as victim:
        assert victim.stdout.readline() == "ready\n"
        for _ in range(20):
            peer.send(frame(MACS[0], peer.mac, rng.randbytes(1000)))
        victim.send_signal(signal.SIGKILL)
        for _ in range(20):
            peer.send(frame(MACS[0], peer.mac, rng.randbytes(1000)))
    with NicGuest(functions[0]) as guest:
        guest.begin(MACS[0])
        works(guest, peer, rng)


def test_removal_in_use(card, functions, peer, rng):
    """The PF removes its functions: the user is asked to give the function back."""
    with NicGuest(functions[0]) as guest, EventFd() as request:
        guest.begin(MACS[0])
        works(guest, peer, rng)
        guest.device.set_irq(REQ, request.fd)
        removal = InAWhile(0, card.set_number, 0)
        wait_until(request.take)
        # Until then it stays in use.
        assert removal.is_alive()
        works(guest, peer, rng)
    removal.join()
    assert card.functions() == []
    card.set_number(2)
    assert all(modules.driver_of(bdf) is None for bdf in card.functions())
