# SPDX-License-Identifier: GPL-2.0-only
"""A connection between the two ends of a migration that damages the data on it."""

import socket
import threading


class Proxy:
    """Takes one connection, and changes the first bytes in it that begin with a pattern."""

    def __init__(self, address, pattern, length, change):
        """Forwards from a local port to an address with its port.

        `change` gets `length` bytes, which begin with the pattern, and returns what takes their
        place. An empty result ends the connection there.
        """
        self.pattern, self.length, self.change = pattern, length, change
        self.hit = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.target = socket.create_connection(address)
        self.source = None
        self.threads = [threading.Thread(target=self._run, daemon=True)]
        self.threads[0].start()

    def _run(self):
        self.source, _ = self.listener.accept()
        back = threading.Thread(target=self._back, daemon=True)
        self.threads.append(back)
        back.start()
        try:
            self._forth()
        except OSError:
            pass
        self._end(self.target)
        self._end(self.source)

    @staticmethod
    def _end(sock):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _back(self):
        try:
            while data := self.target.recv(1 << 16):
                self.source.sendall(data)
        except OSError:
            pass
        self._end(self.source)

    def _forth(self):
        data = b""
        while more := self.source.recv(1 << 16):
            data += more
            if not self.hit:
                data = self._look(data)
                if data is None:
                    return
            else:
                self.target.sendall(data)
                data = b""

    def _look(self, data):
        """Sends what can be sent; returns the bytes that must wait, or None at the end."""
        at = data.find(self.pattern)
        if at < 0:
            keep = next(
                n for n in range(len(self.pattern) - 1, -1, -1)
                if data.endswith(self.pattern[:n])
            )
            at = len(data) - keep
            self.target.sendall(data[:at])
            return data[at:]
        if len(data) < at + self.length:
            self.target.sendall(data[:at])
            return data[at:]
        self.hit = True
        self.target.sendall(data[:at])
        changed = self.change(data[at : at + self.length])
        if not changed:
            return None
        self.target.sendall(changed + data[at + self.length :])
        return b""

    def close(self):
        self.listener.close()
        for sock in (self.source, self.target):
            if sock is not None:
                self._end(sock)
        for thread in self.threads:
            thread.join(10)
        for sock in (self.source, self.target):
            if sock is not None:
                sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
