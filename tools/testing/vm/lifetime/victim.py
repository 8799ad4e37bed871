# SPDX-License-Identifier: GPL-2.0-only
"""A process with an open device that takes steps on command, until it is killed."""

import os
import select
import signal

from lib import vfio
from lib.clients import Client


def occupy(guest, rng):
    """Makes the device and the kernel hold everything that a guest can make them hold."""
    guest.device.dirty_pages(True)
    guest.furnish(rng)
    event = vfio.EventFd()
    guest.device.set_irq(vfio.MSI, event.fd)
    # The device is still at work during the first steps.
    guest.occupy()
    return event


class Victim:
    """Takes the steps that `script`, called with a Client, yields, each on command."""

    def __init__(self, bdf, script):
        requests, self.requests = os.pipe()
        self.answers, answers = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.close(self.requests)
                os.close(self.answers)
                self._live(bdf, script, requests, answers)
            finally:
                os._exit(1)
        os.close(requests)
        os.close(answers)
        self._answer()

    @staticmethod
    def _live(bdf, script, requests, answers):
        # pylint: disable=consider-using-with
        steps = script(Client(bdf))
        os.write(answers, b"+")
        for _ in steps:
            if not os.read(requests, 1):
                return
            os.write(answers, b"+")
        os.write(answers, b".")
        signal.pause()

    def _answer(self, seconds=60):
        ready, _, _ = select.select([self.answers], [], [], seconds)
        assert ready, "the client does not answer"
        answer = os.read(self.answers, 1)
        assert answer, "the client failed"
        return answer

    def begin_step(self):
        os.write(self.requests, b"s")

    def end_step(self):
        """Returns whether there was another step."""
        return self._answer() == b"+"

    def step(self):
        self.begin_step()
        return self.end_step()

    def status(self, name):
        """Returns a value of /proc/PID/status, in kilobytes."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))

    def kill(self):
        """Kills the process and waits for its end."""
        os.kill(self.pid, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(self.pid, 0)[1])
        os.close(self.requests)
        os.close(self.answers)
