# SPDX-License-Identifier: GPL-2.0-only
"""One image for three protocols: each loads what any other has saved."""

import itertools

import pytest

from lib.clients import IMAGE, PROTOCOLS, Client
from lib.image import Image
from lib.protocols import v2


@pytest.mark.parametrize("save,load", itertools.product(PROTOCOLS, repeat=2))
def test_every_protocol_loads_what_every_other_saved(pair, rng, save, load):
    source, target = pair
    content = source.furnish(rng)
    expected = source.state()
    image = source.save(save)
    target.load(load, image)
    assert target.state() == expected
    assert target.hidden() == content
    # The way back is by the same two, without pre-copy.
    content = target.furnish(rng)
    expected = target.state()
    image = target.save(load, precopy=False)
    source.run(save)
    source.load(save, image)
    assert source.state() == expected
    assert source.hidden() == content


def test_the_image_is_the_same_for_every_protocol(guest, rng):
    guest.furnish(rng)
    images = []
    for protocol, precopy in itertools.product(PROTOCOLS, (True, False)):
        images.append(guest.save(protocol, precopy))
        guest.run(protocol)
    assert len(images[0]) == IMAGE
    assert Image.parse(images[0]).build() == images[0]
    assert all(image == images[0] for image in images)


def test_the_image_is_the_same_without_mmap(bdfs, rng):
    """QEMU does so if it cannot map the section: 8 bytes a call."""
    with Client(bdfs[0], use_mmap=False) as guest:
        guest.furnish(rng)
        expected = guest.state()
        images = []
        for protocol in PROTOCOLS:
            images.append(guest.save(protocol))
            guest.run(protocol)
        assert images[0] == images[1] == images[2]
        for protocol in PROTOCOLS:
            guest.device.reset()
            guest.load(protocol, images[0])
            assert guest.state() == expected


@pytest.mark.edu
@pytest.mark.parametrize("load", PROTOCOLS)
def test_a_buffer_that_goes_twice(pair, rng, load):
    """The buffer changes during pre-copy and is sent twice; the later content counts."""
    source, target = pair
    source.fill(bytes(4096))
    with source.v2.set(v2.PRE_COPY) as file:
        image = file.drain()
        content = source.furnish(rng)
        image += file.drain()
        expected = source.state()
        source.v2.set(v2.STOP_COPY)
        image += file.drain()
    assert len(Image.parse(image).sections) == 3
    target.load(load, image)
    assert target.state() == expected
    assert target.hidden() == content
