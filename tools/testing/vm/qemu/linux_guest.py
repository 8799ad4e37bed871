# SPDX-License-Identifier: GPL-2.0-only
"""The Linux guest: how QEMU runs it, and what its program prints.

linux/ has the program, and the boot that comes before the tests.
"""

import time
from dataclasses import dataclass, fields

from lib.clone import TARGET

# Where linux/Makefile leaves it.
BUILT = TARGET / "linux-guest"

MEMORY = 128 << 20

# What its program prints when it is ready for a device.
WAITS = "guest: waiting for a device"

# What it does, see linux/init.c.
ROUNDS_PER_BEAT, INTERRUPTS_PER_ROUND, BYTES_PER_ROUND = 4, 4, 2 * 4096

# No check of its own, and no complaint, that depends on how fast the machine is.
COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 nokaslr mitigations=off cryptomgr.notests"
    " lsm= no_timer_check tsc=reliable nowatchdog rcupdate.rcu_cpu_stall_suppress=1"
)


def arguments(directory, console):
    """Returns arguments for QEMU; what the guest prints is appended to the file `console`.

    They are the same for a QEMU that boots the guest and for all that it is moved to.
    The guest's clock goes by the instructions that it executes: after a migration all
    its code has to be translated anew, and by a clock of the world's the ticks of its
    timer would come faster than it can take them.
    """
    return (
        *("-machine", "pc", "-m", f"size={MEMORY}b", "-cpu", "qemu64"),
        *("-accel", "tcg", "-icount", "shift=4"),
        *("-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initramfs")),
        *("-append", COMMAND_LINE, "-no-reboot"),
        *("-chardev", f"file,id=console,path={console},append=on", "-serial", "chardev:console"),
    )


@dataclass(frozen=True)
class Beat:
    """A line of the heartbeat: all that the guest has done since its device was there."""

    number: int
    #: Seconds since the guest's boot.
    time: float
    #: Another after each boot.
    boot: str
    rounds: int
    factorials: int
    #: Moved by DMA.
    bytes: int
    #: Interrupts that the device had to raise, that the guest's kernel saw, and that did
    #: not come in time.
    expected: int
    seen: int
    lost: int
    #: Wrong answers.
    wrong: int

    @classmethod
    def parse(cls, line):
        """Returns what the line says, None where it is no heartbeat."""
        words = line.split()
        if words[:1] != ["beat"]:
            return None
        words[0] = "number"
        names = [field.name for field in fields(cls)]
        assert words[::2][1:] == names[1:], line
        return cls(*(field.type(word) for field, word in zip(fields(cls), words[1::2])))


class Heartbeat:
    """Takes the guest's lines from its console to a log, with the test's own between them."""

    def __init__(self, console, log):
        self.console = console.open("rb")
        # By lines, and never read: what the test did is there even if it fails.
        # pylint: disable-next=consider-using-with
        self.log = log.open("w", encoding="ascii", buffering=1)
        self.begin = time.monotonic()
        self.rest = b""
        self.beats = []
        self.others = []

    def _write(self, text):
        self.log.write(f"{time.monotonic() - self.begin:8.2f} {text}\n")

    def follow(self):
        """Takes what the guest has printed since; returns the number of its last beat."""
        *lines, self.rest = (self.rest + self.console.read()).split(b"\n")
        for line in lines:
            text = line.decode("ascii", "backslashreplace").strip()
            self._write(text)
            beat = Beat.parse(text)
            if beat:
                self.beats.append(beat)
            elif text:
                self.others.append(text)
        return self.beats[-1].number if self.beats else 0

    def mark(self, text):
        """Puts a line of the test's into the log."""
        self.follow()
        self._write(f"-- {text}")

    def close(self):
        self.console.close()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
