# SPDX-License-Identifier: GPL-2.0-only
"""The slow work is done before the device is stopped.

The tests count passes instead of measuring time: each pass of the internal buffer takes the device
100 ms and is a trace event, however busy the machine is. A virtual device's buffer is in memory.
"""

import pytest

from devices.edu import BUFFER_SIZE
from lib.clients import IMAGE_PRECOPY, PROTOCOLS
from lib.protocols import v2
from lib.trace_events import trace

pytestmark = [pytest.mark.edu, pytest.mark.physical]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("precopy", [True, False], ids=["precopy", "stopped"])
def test_the_buffer_is_read_once(bdfs, guest, rng, protocol, precopy):
    guest.fill(rng.randbytes(BUFFER_SIZE))
    with trace() as events:
        guest.save(protocol, precopy)
        found = events()
    stopped = found.first(bdfs[0], "state", "to=STOP_COPY")
    passes = [
        len(found.private_dma(bdfs[0], until=stopped)),
        len(found.private_dma(bdfs[0], since=stopped)),
    ]
    assert passes == ([1, 0] if precopy else [0, 1]), found


def test_the_buffer_is_written_when_it_arrives(bdfs, pair, rng):
    source, target = pair
    content = rng.randbytes(BUFFER_SIZE)
    source.fill(content)
    image = source.v2.save()
    with trace() as events, target.v2.set(v2.RESUMING) as file:
        file.write(image[:IMAGE_PRECOPY])
        assert len(events().private_dma(bdfs[1])) == 1
        file.write(image[IMAGE_PRECOPY:])
        target.v2.set(v2.RUNNING)
        assert len(events().private_dma(bdfs[1])) == 1
    assert target.buffer() == content


def test_a_buffer_used_again_is_read_again(bdfs, guest, rng):
    """It is read again even if the client had taken everything."""
    with trace() as events, guest.v2.set(v2.PRE_COPY) as file:
        guest.fill(rng.randbytes(BUFFER_SIZE))
        file.drain()
        assert len(events().private_dma(bdfs[0])) == 1
        file.drain()
        assert len(events().private_dma(bdfs[0])) == 1
        guest.fill(rng.randbytes(BUFFER_SIZE))
        file.drain()
        assert len(events().private_dma(bdfs[0])) == 2
        guest.v2.set(v2.STOP_COPY)
        file.drain()
        assert len(events().private_dma(bdfs[0])) == 2
