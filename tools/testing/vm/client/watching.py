# SPDX-License-Identifier: GPL-2.0-only
"""The client's commands that watch a device which another process uses."""

import json
import pathlib
import signal
import subprocess

INSTANCES = pathlib.Path("/sys/kernel/tracing/instances")


class Watch:
    """A running command whose lines are JSON."""

    def __init__(self, client, command, *arguments):
        self.process = subprocess.Popen(
            [client, "--json", command, *map(str, arguments)], stdout=subprocess.PIPE, text=True
        )
        self.records = []
        self.first = self.until(lambda record: record["type"] == "sample")

    def __iter__(self):
        for line in self.process.stdout:
            self.records.append(json.loads(line))
            yield self.records[-1]

    def until(self, condition):
        """Reads on to the first record that meets the condition; returns it."""
        for record in self:
            if condition(record):
                return record
        raise AssertionError(f"ended with {self.process.wait()} after {self.records[-3:]}")

    def until_state(self, state):
        return self.until(lambda record: record.get("state") == state)

    def fields(self, event):
        """Returns the fields of all events of that name that were read so far."""
        return [record["fields"] for record in self.records if record.get("event") == event]

    def end(self, number=signal.SIGTERM):
        """Signals the command to end, reads the rest, and returns the exit status."""
        self.process.send_signal(number)
        list(self)
        return self.process.wait()


def run(client, command, *arguments, within=(), **options):
    """Runs a command that ends by itself; returns exit status, output and errors."""
    result = subprocess.run(
        [*within, client, command, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    return result.returncode, result.stdout, result.stderr
