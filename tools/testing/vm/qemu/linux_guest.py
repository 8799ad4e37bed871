# SPDX-License-Identifier: GPL-2.0-only
"""The Linux guest: how QEMU runs it, and what its program prints.

The program, and the boot before the tests, are in linux/.
"""

import time
from dataclasses import dataclass, fields

from lib.clone import TARGET

# The directory of what linux/Makefile builds.
BUILT = TARGET / "linux-guest"

MEMORY = 128 << 20

# What the program prints when it is ready for a device.
WAITS = "guest: waiting for a device"

# What the program does: see linux/init.c.
ROUNDS_PER_BEAT, INTERRUPTS_PER_ROUND, BYTES_PER_ROUND = 4, 4, 2 * 4096

# The kernel must not check, or complain of, anything that depends on the machine's speed.
COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 nokaslr mitigations=off cryptomgr.notests"
    " lsm= no_timer_check tsc=reliable nowatchdog rcupdate.rcu_cpu_stall_suppress=1"
)


def arguments(directory, console):
    """Returns arguments for QEMU; what the guest prints is appended to the file `console`.

    They are the same for the QEMU that boots the guest and for all that it moves to. The
    guest's clock counts the instructions that it executes: after a migration all its code
    must be translated again, and with a real clock the ticks of its timer would come faster
    than it can handle them.
    """
    return (
        *("-machine", "pc", "-m", f"size={MEMORY}b", "-cpu", "qemu64"),
        *("-accel", "tcg", "-icount", "shift=4"),
        *("-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initramfs")),
        *("-append", COMMAND_LINE, "-no-reboot"),
        *("-chardev", f"file,id=console,path={console},append=on", "-serial", "chardev:console"),
    )


@dataclass(frozen=True)
class Line:
    """A line of a heartbeat."""

    number: int
    #: Seconds since the guest's boot.
    time: float
    #: Differs after each boot.
    boot: str

    @classmethod
    def parse(cls, line):
        """Returns the beat in a line, None if it has none."""
        words = line.split()
        if words[:1] != ["beat"]:
            return None
        words[0] = "number"
        names = [field.name for field in fields(cls)]
        assert words[::2][1:] == names[1:], line
        return cls(*(field.type(word) for field, word in zip(fields(cls), words[1::2])))


@dataclass(frozen=True)
class Beat(Line):
    """What the guest has done since it got its device."""

    rounds: int
    factorials: int
    #: Moved by DMA.
    bytes: int
    #: Interrupts that the device must have raised, that the guest's kernel has seen, and that did
    #: not come in time.
    expected: int
    seen: int
    lost: int
    #: Wrong answers.
    wrong: int


class Heartbeat:
    """Copies the guest's lines from its console to a log, and adds the test's own."""

    def __init__(self, console, log, kind=Beat):
        """`kind` is the class of a beat."""
        self.kind = kind
        self.console = console.open("rb")
        # Buffered by lines, so that the log is complete even if the test fails.
        # pylint: disable-next=consider-using-with
        self.log = log.open("w", encoding="ascii", buffering=1)
        self.begin = time.monotonic()
        self.rest = b""
        self.beats = []
        self.others = []

    def _write(self, text):
        self.log.write(f"{time.monotonic() - self.begin:8.2f} {text}\n")

    def follow(self):
        """Copies what the guest has printed since; returns the number of its last beat."""
        *lines, self.rest = (self.rest + self.console.read()).split(b"\n")
        for line in lines:
            text = line.decode("ascii", "backslashreplace").strip()
            self._write(text)
            beat = self.kind.parse(text)
            if beat:
                self.beats.append(beat)
            elif text:
                self.others.append(text)
        return self.beats[-1].number if self.beats else 0

    def mark(self, text):
        """Adds a line of the test to the log."""
        self.follow()
        self._write(f"-- {text}")

    def close(self):
        self.console.close()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
