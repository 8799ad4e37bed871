# SPDX-License-Identifier: GPL-2.0-only
"""The machine that the tests run in, from outside: QEMU's monitor, for plugging devices.

It exists if scripts/vm has the option --monitor.
"""

import json
import os
import pathlib

PORT = "rvfio.monitor"


class Monitor:
    """QMP through a virtio port."""

    def __init__(self):
        ports = pathlib.Path("/sys/class/virtio-ports")
        names = [port.name for port in ports.iterdir() if (port / "name").read_text() == f"{PORT}\n"]
        assert names, f"no port {PORT}: run the tests with 'scripts/vm run --monitor'"
        # pylint: disable=consider-using-with
        self.port = open(f"/dev/{names[0]}", "r+b", buffering=0)
        self.left = b""
        # The monitor takes nothing before this command, and refuses it later.
        self._command("qmp_capabilities")

    def _line(self):
        while b"\n" not in self.left:
            self.left += os.read(self.port.fileno(), 65536)
        line, _, self.left = self.left.partition(b"\n")
        return json.loads(line)

    def _command(self, name, /, **arguments):
        text = json.dumps({"execute": name, "arguments": arguments})
        self.port.write(text.encode() + b"\n")
        while True:
            answer = self._line()
            # Other messages are the greeting and events.
            if "return" in answer or "error" in answer:
                return answer

    def execute(self, name, /, **arguments):
        """Runs a command; returns its result, or fails with its error."""
        answer = self._command(name, **arguments)
        assert "return" in answer, answer["error"]
        return answer["return"]

    def close(self):
        self.port.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
