# SPDX-License-Identifier: GPL-2.0-only
"""Boots the Linux guest until it waits for a device, and saves its state to a file.

In a virtual machine that is itself emulated, the boot would take minutes.
"""

import pathlib
import subprocess
import sys
import time

from qemu import linux_guest

PATIENCE = 300


def boot(directory):
    """Writes the file 'state' in the directory."""
    console, state = directory / "console", directory / "state.new"
    console.write_bytes(b"")
    with subprocess.Popen(
        [
            "qemu-system-x86_64",
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *linux_guest.arguments(directory, console),
            *("-monitor", "stdio"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as qemu:
        try:
            end = time.monotonic() + PATIENCE
            while linux_guest.WAITS not in console.read_text(errors="replace"):
                if qemu.poll() is not None or time.monotonic() > end:
                    raise TimeoutError("the guest does not get as far as waiting for a device")
                time.sleep(0.1)
            # The state includes that the guest is stopped.
            output, _ = qemu.communicate(
                f"stop\nmigrate file:{state}\ninfo migrate\nquit\n", timeout=PATIENCE
            )
            if "completed" not in output:
                raise RuntimeError(f"QEMU has not saved the guest:\n{output}")
        except BaseException:
            qemu.kill()
            print(console.read_text(errors="replace"), file=sys.stderr)
            raise
    state.rename(directory / "state")


if __name__ == "__main__":
    boot(pathlib.Path(sys.argv[1]).resolve())
