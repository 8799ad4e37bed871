# SPDX-License-Identifier: GPL-2.0-only
"""What is left to do when the guest has stopped."""

import contextlib
import os
import pathlib
import re

import pytest

import versions
from edu import BUFFER_SIZE
from machine import migrate

INSTANCE = pathlib.Path("/sys/kernel/tracing/instances/rvfio")


@pytest.fixture
def version():
    """The protocol of QEMU 7.2 knows nothing of the kind."""
    return versions.QEMU_11


@contextlib.contextmanager
def trace():
    """Records the driver's events; the value is a function that returns them, in order."""
    INSTANCE.mkdir(exist_ok=True)
    try:
        (INSTANCE / "events/rvfio/enable").write_text("1")
        yield lambda: re.findall(r" rvfio_(\w+): (\S+) (.*)", (INSTANCE / "trace").read_text())
    finally:
        os.rmdir(INSTANCE)


def test_the_buffer_is_loaded_before_the_guest_stops(source, target, bdfs, rng):
    """By switchover-ack QEMU waits until the target has what takes the device long."""
    content = rng.randbytes(BUFFER_SIZE)
    source.edu.fill(content)
    for machine in (source, target):
        machine.capability("switchover-ack", True)
    with trace() as events:
        migrate(source, target)
        found = events()
    assert target.edu.buffer() == content

    stopped = next(
        number
        for number, (event, bdf, text) in enumerate(found)
        if (event, bdf) == ("state", bdfs[0]) and text.endswith("to=STOP_COPY")
    )
    loaded = sum(
        int(text.rpartition("=")[2])
        for event, bdf, text in found[:stopped]
        if (event, bdf) == ("buffer", bdfs[1]) and text.startswith("load")
    )
    assert loaded > BUFFER_SIZE, found
