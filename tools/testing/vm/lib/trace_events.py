# SPDX-License-Identifier: GPL-2.0-only
"""The driver's trace events, events/rvfio in tracefs."""

import contextlib
import os
import pathlib
import re
from typing import NamedTuple

INSTANCE = pathlib.Path("/sys/kernel/tracing/instances/rvfio-test")

LINE = re.compile(r"^.* (\d+\.\d{6}): rvfio_(\w+): (\S+) (.*)$", re.MULTILINE)


class Event(NamedTuple):
    """An event at a time in seconds; its name lacks the prefix rvfio_."""

    time: float
    name: str
    bdf: str
    text: str

    def number(self, field):
        """Returns the value of a field in the text."""
        return int(re.search(rf"\b{field}=(-?\d+)", self.text)[1])


class Events(list):
    """Events in the order of time."""

    def first(self, bdf, name, end=""):
        """Returns the index of the first event with this device, name and end of the text."""
        for number, event in enumerate(self):
            if (event.bdf, event.name) == (bdf, name) and event.text.endswith(end):
                return number
        raise AssertionError(f"no event {name} {end} of {bdf}: {self}")

    def private_dma(self, *bdfs, since=0, until=None):
        """Returns the events of DMA into the driver's own memory; each takes an edu 100 ms."""
        return [e for e in self[since:until] if e.name == "private_dma" and e.bdf in bdfs]


@contextlib.contextmanager
def trace():
    """Records events; the value is a function that returns the Events so far."""
    INSTANCE.mkdir()
    try:
        (INSTANCE / "events/rvfio/enable").write_text("1")

        def events():
            found = LINE.findall((INSTANCE / "trace").read_text())
            return Events(Event(float(time), *rest) for time, *rest in found)

        yield events
    finally:
        os.rmdir(INSTANCE)
