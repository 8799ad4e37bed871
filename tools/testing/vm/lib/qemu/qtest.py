# SPDX-License-Identifier: GPL-2.0-only
"""A client of QEMU's qtest protocol, by which a test acts for a guest without a program."""

import base64
import contextlib
import queue
import socket
import threading


class QtestError(Exception):
    """QEMU refused a command, or ended."""


class Qtest:
    """A connection on which commands are lines of text, and an interrupt is a line in between.

    A thread takes the lines as they come: QEMU blocks while it cannot send one, and interrupts of
    its clock never end.
    """

    def __init__(self, sock):
        self.sock = sock
        self.levels = {}
        self.raised = {}
        self.answers = queue.SimpleQueue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.reader.join()
        self.sock.close()

    def _read(self):
        with contextlib.suppress(OSError), self.sock.makefile("rb") as file:
            for line in file:
                words = line.split()
                if words[0] == b"IRQ":
                    self._note_interrupt(words)
                else:
                    self.answers.put(words)
        self.answers.put(None)

    def _note_interrupt(self, words):
        level, line = words[1] == b"raise", int(words[2])
        if level and not self.levels.get(line):
            self.raised[line] = self.raised.get(line, 0) + 1
        self.levels[line] = level

    def command(self, text):
        """Returns the words of the answer."""
        try:
            self.sock.sendall(text.encode() + b"\n")
        except OSError as error:
            raise QtestError(f"QEMU ended at '{text}'") from error
        words = self.answers.get()
        if words is None:
            self.answers.put(None)  # The commands after this one fail in the same way.
            raise QtestError(f"QEMU ended at '{text}'")
        if words[0] != b"OK":
            raise QtestError(f"{text}: {b' '.join(words).decode()}")
        return words[1:]

    def intercept(self, path):
        """Makes QEMU report changes of an interrupt controller's input lines."""
        self.command(f"irq_intercept_in {path}")

    def interrupts(self, line):
        """Returns the level of a line and how often it was raised."""
        self.command("endianness")  # The thread has counted all that came before the answer.
        return self.levels.get(line, False), self.raised.get(line, 0)

    def io_read32(self, port):
        return int(self.command(f"inl {port:#x}")[0], 16)

    def io_write32(self, port, value):
        self.command(f"outl {port:#x} {value:#x}")

    def read32(self, address):
        return int(self.command(f"readl {address:#x}")[0], 16)

    def write32(self, address, value):
        self.command(f"writel {address:#x} {value:#x}")

    def read64(self, address):
        return int(self.command(f"readq {address:#x}")[0], 16)

    def write64(self, address, value):
        self.command(f"writeq {address:#x} {value:#x}")

    def read(self, address, size):
        return base64.b64decode(self.command(f"b64read {address:#x} {size:#x}")[0])

    def write(self, address, data):
        text = base64.b64encode(data).decode()
        self.command(f"b64write {address:#x} {len(data):#x} {text}")

    def memset(self, address, size, value):
        self.command(f"memset {address:#x} {size:#x} {value:#x}")
