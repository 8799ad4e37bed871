# SPDX-License-Identifier: GPL-2.0-only
"""QEMU processes that have devices of the virtual machine passed through."""

import contextlib
import os
import time

from devices.chosen import DEVICE
from lib.qemu.host import HERE, PATIENCE
from lib.qemu.pci import route_interrupts
from lib.qemu.qtest import Qtest
from lib.qemu.versions import QEMU_11
from lib.vfio import is_virtual, sysfs
from qemu.qmp.legacy import QEMUMonitorProtocol

MIB = 1 << 20
FIRST_SLOT = 4

# Memory of the guest that makes a migration long.
BALLAST = 0x2000000

ENDED = ("completed", "failed", "cancelled")

# Where INTx of all slots goes: an input of the I/O APIC.
INTERRUPT_LINE = 11


class Machine:
    """A QEMU whose guest is driven by its qtest socket, and itself by QMP."""

    def __init__(
        self,
        bdfs,
        version=QEMU_11,
        incoming=False,
        firmware=None,
        memory=64 * MIB,
        properties=(),
        host=HERE,
        system=None,
        paused=False,
    ):
        """Starts QEMU with a device for each address; with `incoming` it waits for a guest.

        In place of an address there may be the path of a device in sysfs. `properties` are further
        ones of each vfio-pci, as NAME=VALUE. Without a program in `firmware` the test is the guest.
        `system` are the arguments for a guest that sets up its devices itself, in place of
        `firmware` and `memory`. A guest that is `paused` does not run until it is told to.
        """
        self.version = version
        self.host = host
        self.properties = properties
        self.written = None
        #: The argument of QEMU's -device for each vfio-pci.
        self.devices = [self._device(number, place) for number, place in enumerate(bdfs)]
        with host.listen() as (qmp, qmp_at), host.listen() as (qtest, qtest_at):
            self.process = host.start(
                [
                    *version.command,
                    *("-nodefaults", "-no-user-config", "-display", "none"),
                    *(system or self._bare(firmware, memory)),
                    *("-chardev", f"socket,id=qmp,{qmp_at}", "-qmp", "chardev:qmp"),
                    *("-chardev", f"socket,id=qtest,{qtest_at}"),
                    *("-qtest", "chardev:qtest", "-qtest-log", "none"),
                    *(word for device in self.devices for word in ("-device", device)),
                    *(("-incoming", "defer") if incoming else ()),
                    *(("-S",) if paused else ()),
                ]
            )
            self.qmp = QEMUMonitorProtocol(self._accept(qmp))
            self.qtest = Qtest(self._accept(qtest))
        try:
            self.qmp.connect()
            # The source learns by it that the target has refused.
            self.capability("return-path", True)
            if not system:
                self.qtest.intercept("ioapic")
        except Exception as error:
            self.kill()
            raise AssertionError(f"QEMU did not start:\n{self.output()}") from error
        slots = range(FIRST_SLOT, FIRST_SLOT + len(bdfs))
        #: The guest's driver of each device.
        self.drivers = [DEVICE.GuestDriver(self.qtest, slot) for slot in slots]

    def _accept(self, listener):
        """Returns the connection that QEMU makes."""
        listener.settimeout(0.5)
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.settimeout(None)
                return connection
        self.kill()
        raise AssertionError(f"QEMU did not start:\n{self.output()}")

    def _bare(self, firmware, memory):
        yield from ("-machine", "pc", "-m", f"size={memory}b")
        yield from self.version.processor(firmware)

    def _device(self, number, place):
        path = sysfs(place) if is_virtual(place) else place
        name = "sysfsdev" if path.startswith("/") else "host"
        return ",".join(
            ("vfio-pci", f"{name}={path}", f"id=device{number}")
            + (f"addr={FIRST_SLOT + number:x}.0", self.version.migration, *self.properties)
        )

    def plug(self, place, *properties):
        """Plugs a device into the running guest, which must have none yet."""
        device = ",".join((self._device(0, place), *properties))
        answer = self.cmd("human-monitor-command", command_line=f"device_add {device}")
        assert "Error" not in answer, answer

    @property
    def driver(self):
        """The guest's driver of the first device."""
        return self.drivers[0]

    def enable(self):
        """Sets up interrupts and devices as firmware does."""
        route_interrupts(self.qtest, INTERRUPT_LINE)
        for driver in self.drivers:
            driver.function.enable()

    def interrupts(self):
        """Returns the level of the first device's INTx and how often it was raised."""
        return self.qtest.interrupts(INTERRUPT_LINE)

    def output(self):
        """Returns what QEMU wrote."""
        return self.process.output()

    def cmd(self, name, **arguments):
        """Runs a QMP command; _ in the name of an argument stands for -."""
        return self.qmp.cmd(name, **{key.replace("_", "-"): arguments[key] for key in arguments})

    def status(self):
        return self.cmd("query-status")["status"]

    def wait_status(self, wanted="running"):
        self.wait(lambda: self.status() == wanted, f"the status {wanted}")

    def wait(self, condition, what, patience=PATIENCE):
        """Waits until `condition` returns something, and returns it."""
        end = time.monotonic() + patience
        while not (result := condition()):
            assert time.monotonic() < end, f"{what} does not come:\n{self.output()}"
            time.sleep(0.02)
        return result

    # Migration.

    def parameters(self, **parameters):
        self.cmd("migrate-set-parameters", **parameters)

    def listen(self):
        """Makes a QEMU that waits for a guest take it from a TCP port; returns address and port.
        """
        self.cmd("migrate-incoming", uri=f"tcp:{self.host.address}:0")
        (address,) = self.cmd("query-migrate")["socket-address"]
        return self.host.address, int(address["port"])

    def migrate_to(self, address):
        self.cmd("migrate", uri="tcp:{}:{}".format(*address))

    def capability(self, name, state):
        self.cmd(
            "migrate-set-capabilities", capabilities=[{"capability": name, "state": state}]
        )

    def _with_file(self, command, path, flags):
        self.capability("return-path", False)
        if self.version.has_file:
            self.cmd(command, uri=f"file:{path}")
            return
        fd = os.open(path, flags, 0o600)
        try:
            self.qmp.send_fd_scm(fd)
            self.cmd("getfd", fdname="image")
        finally:
            os.close(fd)
        self.cmd(command, uri="fd:image")

    def migrate_to_file(self, path):
        self._with_file("migrate", path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def migrate_from_file(self, path):
        self._with_file("migrate-incoming", path, os.O_RDONLY)

    def migration(self):
        """Returns what QEMU says of the last migration."""
        return self.cmd("query-migrate")

    def hold(self):
        """Makes the next migration last until it is released; it sends low memory first."""
        self.qtest.memset(BALLAST, 16 * MIB, 0x5A)
        self.parameters(max_bandwidth=512 << 10, downtime_limit=1)

    def release(self):
        """Lets a migration that was held come to its end."""
        self.parameters(max_bandwidth=1 << 40, downtime_limit=300)

    def wait_migration(self, *wanted):
        """Waits until the migration is in one of the states; returns what QEMU says of it."""

        def look():
            info = self.migration()
            return info if info.get("status") in wanted else None

        return self.wait(look, f"the migration's state {wanted}")

    def wait_sent(self):
        """Waits until a migration that is held has sent the memory below the ballast."""
        self.wait(
            lambda: self.migration().get("ram", {}).get("normal-bytes", 0) > MIB, "the pre-copy"
        )

    def wait_end(self, wanted="completed"):
        """Waits until the migration has ended in that state; returns what QEMU says of it."""
        info = self.wait_migration(*ENDED)
        assert info["status"] == wanted, f"{info}\n{self.output()}"
        return info

    # The end.

    def wait_exit(self):
        """Waits until QEMU has ended by itself; returns its status."""
        return self.process.wait(PATIENCE)

    def kill(self):
        self.process.kill()

    def close(self):
        """Ends QEMU as its user does, unless it has ended; returns what it wrote."""
        if self.written is not None:
            return self.written
        if self.process.poll() is None:
            with contextlib.suppress(Exception):
                self.cmd("quit")
                self.process.wait(PATIENCE)
        self.kill()
        self.qtest.close()
        with contextlib.suppress(Exception):
            self.qmp.close()
        self.written = self.output()
        return self.written


# For each migration by `migrate`: the QEMU, and what it says of total time and downtime, in ms.
figures = []


# The socket of migrations that are timed. The chroot of QEMU 7.2 has the same /dev.
SOCKET = "/dev/shm/migration"


def migrate(source, target, socket=None):
    """Moves the guest to another QEMU; returns what the source says of it.

    The migration goes through a Unix socket if its path is given, otherwise through TCP, where the
    last bytes sometimes wait 40 ms until those before them are acknowledged.
    """
    if socket is None:
        source.migrate_to(target.listen())
    else:
        target.cmd("migrate-incoming", uri=f"unix:{socket}")
        source.cmd("migrate", uri=f"unix:{socket}")
    info = source.wait_end()
    target.wait_status()
    figures.append((str(source.version), info["total-time"], info["downtime"]))
    return info


@contextlib.contextmanager
def machines():
    """The value is a list for QEMUs. They end with the block, which prints what they wrote."""
    started = []
    yield started
    for output in [one.close() for one in reversed(started)]:
        print(output)
        assert "annot reset device" not in output
