# SPDX-License-Identifier: GPL-2.0-only
"""Shows a Linux guest with a virtual function that moves between two hosts and keeps a connection.

Runs on the source of a pair, with nic.serve on the target. RVFIO_ARTEFACTS is a directory that both
hosts have. The status is 1 if a byte is wrong, or the connection is lost.
"""

import contextlib
import os
import pathlib
import socket
import statistics
import sys
import time

from lib.qemu import versions
from lib.qemu.host import Here, There
from lib.qemu.machine import Machine
from lib.trace_events import trace
from nic import linux_guest
from nic.host import Peer
from nic.serve import ready
from qemu.linux_guest import arguments

MOVES = int(os.environ.get("RVFIO_NIC_MOVES", "4"))
# Bytes each way between two moves, and bytes a second of pre-copy in the first second.
BETWEEN, SLOW = 500_000, 8 << 20


class Demonstration:
    """The guest, and the host that has it."""

    def __init__(self, started, function, consoles):
        """`consoles` is a directory that both hosts have."""
        self.started = started
        self.function = function
        # Each host has a file of its own: two that append to one lose lines.
        self.consoles = {name: consoles / f"console.{name}" for name in ("source", "target")}
        for console in self.consoles.values():
            console.write_bytes(b"")
        # What the guest has printed, and how much of each file was read.
        self.printed, self.read = b"", dict.fromkeys(self.consoles, 0)
        self.hosts = {"source": Here(socket.gethostbyname("source")), "target": There()}
        self.machine, self.place = None, "source"

    def _start(self, devices):
        self.started.append(
            Machine(devices, versions.QEMU_11, incoming=True, host=self.hosts[self.place],
                    system=arguments(linux_guest.BUILT, self.consoles[self.place]),
                    properties=("x-no-mmap=on",))
        )
        return self.started[-1]

    def begin(self, with_function):
        """Loads the guest that was booted before, on the source."""
        self.place = "source"
        self.machine = self._start([])
        self.machine.migrate_from_file(linux_guest.BUILT / "state")
        self.machine.wait_status("paused")
        if with_function:
            self.machine.plug(self.function)
        self.machine.cmd("cont")

    def move(self, with_function=True):
        """Moves the guest to the other host; returns what QEMU says of it."""
        left = self.place
        self.place = "target" if left == "source" else "source"
        target = self._start([self.function] if with_function else [])
        self.machine.parameters(max_bandwidth=SLOW)
        self.machine.migrate_to(target.listen())
        time.sleep(1)
        self.machine.release()
        info = self.machine.wait_end()
        target.wait_status()
        self.machine.close()
        self._follow(left)
        self.machine = target
        return info

    def _follow(self, place):
        """Takes what the guest has printed on a host that it has left."""
        more = self.consoles[place].read_bytes()[self.read[place]:]
        self.read[place] += len(more)
        self.printed += more

    def beats(self):
        """Returns the heartbeats of the guest, which has ended.

        A move may cut a line in two, the end one off.
        """
        self._follow(self.place)
        *lines, _ = self.printed.decode("ascii", "backslashreplace").split("\n")
        beats = list(filter(None, map(linux_guest.Beat.parse, lines)))
        assert [beat.number for beat in beats] == list(range(1, len(beats) + 1)), "beats are lost"
        return beats


def image_bytes(events):
    """Returns how many bytes of an image this host's driver has handed out."""
    return sum(
        event.number("bytes") for event in events
        if event.name == "buffer" and event.text.startswith("save")
    )


def milliseconds(values):
    """Returns the median and the most of times."""
    return f"{statistics.median(values):.0f} ms (at most {max(values):.0f})"


def without(show):
    """Moves the same guest without a function, there and back; returns the downtimes."""
    show.begin(False)
    downtimes = [show.move(False)["downtime"] for _ in range(2)]
    show.machine.close()
    return downtimes


def run(show, stream, pings):
    """Moves the guest; returns downtimes, gaps between answers (both in ms) and image sizes."""
    figures = []
    for turn in range(1, MOVES + 1):
        stream.goes_on(BETWEEN, show.machine)
        pings.take_gap()
        with trace() as events:
            info = show.move()
            size = image_bytes(events())
        stream.goes_on(BETWEEN, show.machine)
        figures.append((info["downtime"], 1000 * pings.take_gap(), size))
        print(f"move {turn}, to the {show.place}: downtime {figures[-1][0]} ms, the longest time"
              f" without an answer to a ping {figures[-1][1]:.0f} ms", flush=True)
    return zip(*figures)


def main():
    function, started = ready(), []
    with Peer() as peer, contextlib.ExitStack() as stack:
        stack.callback(lambda: [machine.close() for machine in started])
        linux_guest.give_address(peer.interface)
        show = Demonstration(started, function, pathlib.Path(os.environ["RVFIO_ARTEFACTS"]))
        print(f"the guest begins on the source, with {function}", flush=True)
        show.begin(True)
        stream, pings = linux_guest.Stream(), linux_guest.Pings()
        try:
            downtimes, gaps, sizes = run(show, stream, pings)
        finally:
            stream.done.set()
            pings.close()
        stream.close()
        show.machine.close()
        beats = show.beats()
        bare = without(show)
    wrong, connections = max(beat.wrong for beat in beats), beats[-1].connections
    print(f"moves: {MOVES}; connections: {connections}; heartbeats of the guest: {len(beats)}")
    print(f"bytes in order: {stream.received} from the guest, {stream.sent} to it; wrong: {wrong}")
    print(f"pings: {pings.answered} of {pings.sent} answered; the longest time without an answer in"
          f" a move: {milliseconds(gaps)}")
    print(f"image of the function: {max(sizes)} bytes")
    print(f"downtime: {milliseconds(downtimes)}; of the same guest without a function:"
          f" {milliseconds(bare)}")
    return int(bool(wrong) or connections != 1)


if __name__ == "__main__":
    sys.exit(main())
