# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests with two hosts."""

import socket

import pytest

from lib.qemu.host import Here, There
from lib.qemu.machine import Machine, machines


@pytest.fixture(scope="session")
def hosts():
    """Both hosts; the tests run on the first."""
    return {"source": Here(socket.gethostbyname("source")), "target": There()}


@pytest.fixture(params=[("source", "target"), ("target", "source")], ids=["forth", "back"])
def way(request):
    """Both directions in turn."""
    return request.param


@pytest.fixture
def start(bdfs, hosts, version):
    """Starts a QEMU on a host, with devices by number: the hosts have the same addresses."""
    with machines() as started:

        def start_one(host, *devices, **options):
            addresses = [bdfs[n] for n in devices]
            started.append(Machine(addresses, version, host=hosts[host], **options))
            return started[-1]

        yield start_one


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
