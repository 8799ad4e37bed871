# SPDX-License-Identifier: GPL-2.0-only
"""Hosts of the programs under test: this one, and the other machine of 'scripts/vm pair'."""

import contextlib
import multiprocessing.managers
import os
import socket
import subprocess
import tempfile
import time

from lib.patience import SLOWNESS

# The port of hosts/serve.py on the other machine; their network has nothing else in it.
PORT, KEY = 4444, b"rvfio"

PATIENCE = 60 * SLOWNESS


class Process:
    """A running program, and what it writes."""

    def __init__(self, command):
        self.log = tempfile.TemporaryFile()
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT
        )

    def poll(self):
        """Returns the program's status, None while it runs."""
        return self.process.poll()

    def wait(self, seconds=PATIENCE):
        """Waits for the program's end; returns its status."""
        return self.process.wait(seconds)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def output(self):
        """Returns what the program wrote, standard error included."""
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), size, 0).decode(errors="replace")


class Manager(multiprocessing.managers.BaseManager):
    """Lets another host start processes and follow them."""


Manager.register("Process", Process)


class Here:
    """The host that the tests run on."""

    def __init__(self, address="127.0.0.1"):
        """Makes programs reachable at an address of this host."""
        self.address = address

    @staticmethod
    def start(command):
        return Process(command)

    @staticmethod
    @contextlib.contextmanager
    def listen():
        """The value is a socket for a program to connect to, and its address in QEMU's words."""
        # In /tmp, which a program in a chroot sees too.
        with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{directory}/socket")
            listener.listen()
            yield listener, f"path={directory}/socket"


class There:
    """The host 'target', seen from the host 'source'."""

    def __init__(self):
        """Waits until the other host serves."""
        self.address = socket.gethostbyname("target")
        self.manager = Manager((self.address, PORT), KEY)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.manager.connect()
                return
            except ConnectionRefusedError:
                assert time.monotonic() < end, "the other host does not serve"
                time.sleep(0.2)

    def start(self, command):
        return self.manager.Process(command)

    @staticmethod
    @contextlib.contextmanager
    def listen():
        """The value is a socket for a program to connect to, and its address in QEMU's words."""
        with socket.create_server((socket.gethostbyname("source"), 0)) as listener:
            host, port = listener.getsockname()
            yield listener, f"host={host},port={port}"


HERE = Here()
