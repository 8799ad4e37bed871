# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests with two hosts."""

import socket

import pytest

from lib.qemu import machine, versions
from lib.qemu.host import Here, There


@pytest.fixture(scope="session")
def hosts():
    """Both hosts; the tests run on the first."""
    return {"source": Here(socket.gethostbyname("source")), "target": There()}


@pytest.fixture(params=[("source", "target"), ("target", "source")], ids=["forth", "back"])
def way(request):
    """Both directions in turn."""
    return request.param


@pytest.fixture(params=versions.ALL, ids=str)
def version(request):
    """Each QEMU in turn."""
    versions.prepare()
    return request.param


@pytest.fixture
def start(bdfs, hosts, version):
    """Starts a QEMU on a host, with devices by number: the hosts have the same addresses."""
    machines = []

    def start_one(host, *devices, **options):
        addresses = [bdfs[n] for n in devices]
        machines.append(machine.Machine(addresses, version, host=hosts[host], **options))
        return machines[-1]

    yield start_one
    for output in [one.close() for one in reversed(machines)]:
        print(output)
        assert "annot reset device" not in output


@pytest.fixture
def run(hosts):
    """Starts another program on a host; it does not outlive the test."""
    processes = []

    def start_one(host, *command):
        processes.append(hosts[host].start([str(word) for word in command]))
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()
        print(process.output())
