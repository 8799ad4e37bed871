# SPDX-License-Identifier: GPL-2.0-only
"""A hostile guest commands its edu to transfer beyond the internal buffer.

    python3 -B -m security.out_of_range DRIVER...

The edu of older QEMUs, such as 7.2, then ends its QEMU, which is the whole host here.
scripts/demo-security runs this in a machine that may end.
"""

import errno
import sys
import time

from devices.edu import BUFFER, BUFFER_SIZE, DMA_COMMAND, RUN, TO_MEMORY, Edu
from lib import mediated, modules
from lib.vfio import Device, Memory

IOVA = 0x100000

# Seconds. The device takes 100 ms, after which the machine would be gone.
PATIENCE = 10


def attack(device):
    """Commands the device to write its buffer and the page beyond to memory; prints the result."""
    memory = Memory(1 << 20)
    device.map(memory, IOVA)
    edu = Edu(device)
    print(f"{device.bdf}: {2 * BUFFER_SIZE} bytes from a buffer of {BUFFER_SIZE}", flush=True)
    try:
        edu.start(BUFFER, IOVA, 2 * BUFFER_SIZE, TO_MEMORY)
    except OSError as error:
        assert error.errno == errno.EINVAL, error
        # The device did not get the command, and goes on.
        assert not edu.read64(DMA_COMMAND) & RUN
        edu.to_memory(IOVA)
        assert edu.factorial(5) == 120
        print("refused: the device works, and so does the host", flush=True)
        return
    print("accepted", flush=True)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(0.1)
    assert not edu.read64(DMA_COMMAND) & RUN
    print("the host goes on", flush=True)


def main(drivers):
    """Attacks a device that is bound to one driver after the other."""
    bdf = modules.find_devices()[0]
    if not modules.is_loaded("vfio_iommu_type1"):
        modules.load("vfio_iommu_type1")
    for driver in drivers:
        modules.rebind(bdf, driver)
        name = mediated.create(bdf, 2) if driver == mediated.DRIVER else bdf
        with Device(name) as device:
            attack(device)


if __name__ == "__main__":
    main(sys.argv[1:])
