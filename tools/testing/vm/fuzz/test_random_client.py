# SPDX-License-Identifier: GPL-2.0-only
"""A random client attacks a device; whatever it does, the kernel and the device survive.

The client is tools/testing/fuzz-vm. Each run has a seed of its own, printed with what it counted;
RVFIO_SEED repeats what each thread does, but not how the scheduler mixes the threads.
"""

import subprocess

import pytest

from lib import mediated, modules

pytestmark = pytest.mark.edu


def attack(program, name, seed, seconds):
    """Runs the client on a device; its status tells what it found."""
    # The client's own watchdog ends it long before the time-out.
    command = [program, name, f"--seconds={seconds}", f"--seed={seed}"]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            timeout=seconds + 600, check=False)
    print(result.stdout, flush=True)
    assert result.returncode == 0, f"RVFIO_SEED={seed} with status {result.returncode}"


@pytest.mark.hang(24 * 3600)
@pytest.mark.parametrize("number", [0, 2], ids=["root-bus", "root-port"])
def test_a_passed_through_device_survives(functions, fuzz_vm, seed, seconds, number, capsys):
    """Attacks a device whose bus cannot reset it, and one whose bus can."""
    modules.rebind(functions[number], modules.VARIANT)
    with capsys.disabled():
        attack(fuzz_vm, functions[number], seed, seconds)


@pytest.mark.hang(24 * 3600)
def test_a_virtual_device_survives(functions, fuzz_vm, seed, seconds, capsys):
    modules.rebind(functions[1], mediated.DRIVER)
    name = mediated.create(functions[1], 2)
    with capsys.disabled():
        attack(fuzz_vm, name, seed, seconds)
