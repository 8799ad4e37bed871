# SPDX-License-Identifier: GPL-2.0-only
"""Loads: segmentation, order of accesses, and images that are refused."""

import random
import struct
import threading
import time

import pytest

from devices import edu_image as im
from devices.edu import BUFFER, BUFFER_SIZE, DMA_COMMAND, DMA_COUNT, RUN, TO_MEMORY
from lib import vfio
from lib.errnos import refused
from lib.guest import Guest
from lib.image import Section
from lib.protocols import region_2018

SAVED = []


@pytest.fixture
def saved(bdfs):
    """The image of a busy device, and the values of its registers."""
    if not SAVED:
        with Guest(bdfs[1]) as source:
            source.randomise(random.Random(2018))
            registers = source.state()
            SAVED.extend((source.region.save(), registers))
    return SAVED


def feed(region, parts):
    for part in parts:
        region.set_buffer(part)


def finish(guest, registers):
    guest.region.state = region_2018.RESUME_COMPLETED
    guest.region.state = region_2018.RUNNING
    assert guest.state() == registers


def cut(data, at):
    """Cuts data at the given offsets."""
    at = [0, *sorted(at), len(data)]
    return [data[start:end] for start, end in zip(at, at[1:])]


@pytest.mark.parametrize("use_mmap", [True, False])
def test_any_segmentation(bdfs, saved, rng, use_mmap):
    data, registers = saved
    with Guest(bdfs[0], use_mmap=use_mmap) as guest:
        for parts in (
            [data],
            cut(data, [64]),
            cut(data, [64, 64 + 24, 64 + 24 + 4096, 64 + 28 + 4096]),
            cut(data, [len(data) - 1]),
            cut(data, range(1, 250)),
            cut(data, range(4100, len(data))),
            cut(data, rng.sample(range(len(data)), 50)),
            cut(data, range(7, len(data), 7)),
        ):
            guest.region.state = region_2018.RESUME
            feed(guest.region, parts)
            finish(guest, registers)


@pytest.mark.precopy
def test_both_data_fields_in_one_write_and_in_halves(guest, saved):
    region = guest.region
    data, registers = saved
    region.state = region_2018.RESUME
    region.data_write(data[:1000])
    region.raw_write(region_2018.DATA_OFFSET[0], struct.pack("<QQ", 4096, 1000))
    region.data_write(data[1000:])
    for half, value in enumerate((4096, 0, len(data) - 1000, 0)):
        region.raw_write(region_2018.DATA_OFFSET[0] + 4 * half, struct.pack("<I", value))
    finish(guest, registers)


def test_data_size_reads_as_written(guest, saved):
    region = guest.region
    data, _ = saved
    region.state = region_2018.RESUME
    assert region.get(region_2018.DATA_SIZE) == 0
    feed(region, [data[:77]])
    assert (region.get(region_2018.DATA_OFFSET), region.get(region_2018.DATA_SIZE)) == (4096, 77)


def test_empty_buffers_change_nothing(guest, saved):
    data, registers = saved
    guest.region.state = region_2018.RESUME
    feed(guest.region, [b"", data[:10], b"", data[10:], b""])
    finish(guest, registers)


def test_wrong_offsets_and_sizes_change_nothing(guest, saved):
    region = guest.region
    data, registers = saved
    region.state = region_2018.RESUME
    feed(region, [data[:100]])
    region.data_write(data[100:])
    for offset in (0, 1, 76, 4095, 4097, 8192, 4096 + region.data_size, 1 << 63, (1 << 64) - 1):
        with refused():
            region.set(region_2018.DATA_OFFSET, offset)
        with refused():
            region.raw_write(
                region_2018.DATA_OFFSET[0], struct.pack("<QQ", offset, len(data) - 100)
            )
    for size in (region.data_size + 1, region.info.size, 1 << 32, 1 << 63, (1 << 64) - 1):
        with refused():
            region.set(region_2018.DATA_SIZE, size)
    assert (region.state, region.get(region_2018.DATA_SIZE)) == (region_2018.RESUME, 100)
    region.set(region_2018.DATA_SIZE, len(data) - 100)
    finish(guest, registers)


def test_the_section_may_change_after_the_write(guest, saved):
    region = guest.region
    data, registers = saved
    region.state = region_2018.RESUME
    for part in cut(data, range(100, len(data), 100)):
        region.set_buffer(part)
        region.area[: len(part)] = bytes(len(part))
    finish(guest, registers)


def test_nothing_is_pending_while_resuming(guest, saved):
    region = guest.region
    region.state = region_2018.RESUME
    assert region.pending() == (0, 0, 0)
    region.set_buffer(saved[0])
    assert region.pending() == (0, 0, 0)


@pytest.mark.edu
@pytest.mark.physical
def test_others_have_the_device_between_two_sections(guest, saved):
    """Each buffer section takes the device 100 ms, and one write may contain any number of them."""
    region = guest.region
    hostile = im.Image.parse(saved[0]).delay(30).build()
    region.state = region_2018.RESUME
    region.data_write(hostile)
    loader = threading.Thread(target=region.set, args=(region_2018.DATA_SIZE, len(hostile)))
    begin = time.monotonic()
    loader.start()
    waits = []
    while loader.is_alive():
        for look in (lambda: guest.edu.read64(DMA_COMMAND), lambda: region.state):
            before = time.monotonic()
            look()
            waits.append(time.monotonic() - before)
        time.sleep(0.01)
    loader.join()
    took = time.monotonic() - begin
    assert took > 2, "the device had nothing to do"
    assert max(waits) < took / 4, f"one waited {max(waits)} s of {took} s"
    finish(guest, saved[1])


def can_only_give_up(guest):
    """Asserts that the only way out of the load is to give up, which leaves a fresh device."""
    region = guest.region
    with refused():
        region.state = region_2018.RESUME_COMPLETED
    with refused():
        region.state = region_2018.RUNNING
    assert region.state == region_2018.RESUME
    region.state = region_2018.FAILED
    guest.is_fresh(thorough=False)


def is_refused(guest, data, before=b""):
    """Asserts that the write of the wrong bytes fails, and that nothing of the load is left."""
    region = guest.region
    region.state = region_2018.RESUME
    if before:
        region.set_buffer(before)
    with refused():
        region.set_buffer(data)
    with refused():
        region.set_buffer(b"\0")
    can_only_give_up(guest)


def test_a_flip_is_refused_no_later_than_at_the_last_byte(guest, saved):
    data, _ = saved
    wrong = bytearray(data)
    wrong[-20] ^= 1
    is_refused(guest, bytes(wrong[-1:]), before=bytes(wrong[:-1]))


def header_field(fmt, at, value):
    def change(image):
        struct.pack_into(fmt, image.header, at, value)
        return image.build()

    return change


def register(at, value, fmt="<I"):
    def change(image):
        image.set_register(at, value, fmt)
        return image.build()

    return change


def sections(change):
    def apply(image):
        image.sections = change(*image.sections)
        return image.renumber().build()

    return apply


def section(which, **fields):
    def change(image):
        found = image.section(which)
        for name, value in fields.items():
            setattr(found, name, value)
        return image.build()

    return change


def unknown(buffer, registers):
    return [Section(77, b"what is this?"), buffer, registers]


# By what is wrong: how the image is made, with right checksums, and what the kernel logs.
WRONG = {
    "magic": (header_field("8s", 0, b"RVFIOIMH"), "not an image"),
    "major": (header_field("<H", 8, 2), "format version 2"),
    "header length": (header_field("<I", 12, 63), "header's length 63"),
    "vendor": (header_field("<H", 16, 0x8086), "another device, 8086:11e8"),
    "device": (header_field("<H", 18, 0x11E9), "another device, 1234:11e9"),
    "subsystem vendor": (header_field("<H", 20, 0x1AF5), "another device"),
    "subsystem": (header_field("<H", 22, 0x1101), "another device"),
    "state major": (header_field("<H", 26, 2), "version 2.0"),
    "state minor": (header_field("<H", 28, 9), "version 1.9"),
    "announced length": (header_field("<Q", 32, 5), "end section"),
    "unknown section": (sections(unknown), "unknown type 77"),
    "reordered": (sections(lambda buffer, registers: [registers, buffer]), "type 2"),
    "old numbers": (lambda i: im.Image(i.header, i.sections[::-1]).build(), "section 0 comes next"),
    "registers twice": (sections(lambda buffer, registers: [buffer, registers, registers]),
                        "type 1"),
    "no registers": (sections(lambda buffer, registers: [buffer]), "refused the state"),
    "no buffer": (sections(lambda buffer, registers: [registers]), "refused"),
    "nothing": (sections(lambda buffer, registers: []), "refused the state"),
    "buffer at an offset": (section(im.BUFFER, offset=8), "type 2"),
    "registers at an offset": (section(im.REGISTERS, offset=1), "type 1"),
    "short buffer": (section(im.BUFFER, payload=bytes(4095)), "type 2"),
    "long buffer": (section(im.BUFFER, payload=bytes(4097)), "type 2"),
    "huge section": (section(im.BUFFER, payload=bytes(65537)), "length 65537"),
    "short registers": (section(im.REGISTERS, payload=bytes(52)), "type 1"),
    "end of the object": (section(im.BUFFER, offset=(1 << 64) - 1), "out of range"),
    "reserved type": (section(im.BUFFER, kind=0), "unknown type 0"),
    "status": (register(im.STATUS, 0x81), "type 1"),
    "wrong factorial": (register(im.RESULT, 7), "type 1"),
    "running command": (register(im.DMA_COMMAND, 1, "<Q"), "type 1"),
    "reserved word": (register(im.RESERVED, 1), "type 1"),
    "length at the end": (lambda i: i.build(lambda a, b, c: (a + 1, b, c)), "end section"),
    "count at the end": (lambda i: i.build(lambda a, b, c: (a, b + 1, c)), "end section"),
    "sum at the end": (lambda i: i.build(lambda a, b, c: (a, b, c ^ 1)), "end section"),
    "optional end": (lambda i: i.build(flags=0), "end section"),
    "end at an offset": (lambda i: i.build(offset=8), "end section"),
    "trailing byte": (lambda i: i.build() + b"\0", "after the end"),
    "repeated": (lambda i: i.build() * 2, "after the end"),
}


@pytest.mark.edu
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_image_is_refused(guest, saved, log, name):
    make, reason = WRONG[name]
    log.pace()
    is_refused(guest, make(im.Image.parse(saved[0])))
    messages = [line for line in log.take() if "refused:" in line]
    assert len(messages) == 1
    assert guest.device.bdf in messages[0]
    assert reason in messages[0]
    guest.works()


def test_the_kernel_log_tells_of_an_incomplete_image(guest, saved, log):
    log.pace()
    guest.region.state = region_2018.RESUME
    guest.region.set_buffer(saved[0][:-1])
    with refused():
        guest.region.state = region_2018.RESUME_COMPLETED
    assert any("incomplete" in line for line in log.take())


def test_the_kernel_log_does_not_blame_an_old_image(guest, saved, log):
    """A refusal is logged once; later errors have other causes."""
    log.pace()
    guest.region.state = region_2018.RESUME
    with refused():
        guest.region.set_buffer(b"\0" * 16)
    assert any("refused" in line for line in log.take())
    with refused():
        guest.region.raw_read(1, 1)
    guest.region.state = region_2018.FAILED
    with refused():
        guest.region.raw_read(1, 1)
    assert not any("refused" in line for line in log.take())


@pytest.mark.edu
def test_an_image_that_another_version_may_write_is_taken(guest, saved):
    """It may have a later minor version, optional sections, another revision, unknown flags."""
    for change in (
        header_field("<H", 10, 7),
        header_field("B", 24, 0x55),
        sections(lambda b, r: [Section(77, b"optional", flags=0), b, r]),
        sections(lambda b, r: [b, b, r]),
        section(im.BUFFER, flags=0xFFFF),
        lambda image: header_field("<Q", 32, len(saved[0]))(image),
    ):
        guest.region.load(change(im.Image.parse(saved[0])))
        assert guest.state() == saved[1]


@pytest.mark.edu
def test_a_longer_header_is_taken(guest, saved):
    image = im.Image.parse(saved[0])
    image.header += bytes(100)
    struct.pack_into("<I", image.header, 12, 164)
    guest.region.load(image.build())
    assert guest.state() == saved[1]


def test_trailing_byte_in_a_write_of_its_own(guest, saved):
    is_refused(guest, b"\0", before=saved[0])
    guest.is_fresh()


def test_resume_from_a_stopped_device(guest, saved):
    guest.region.state = region_2018.NONE
    guest.region.state = region_2018.RESUME
    guest.region.set_buffer(saved[0])
    finish(guest, saved[1])


# These two exhaust the limit of messages about refusals.


@pytest.mark.precopy
def test_a_truncated_image_is_not_complete(guest, saved):
    data, _ = saved
    region = guest.region
    for length in (0, 1, 15, 16, 63, 64, 65, 87, 88, 4183, 4188, 4272, len(data) - 1):
        region.state = region_2018.RESUME
        feed(region, [data[:length]])
        can_only_give_up(guest)
    guest.is_fresh()
    guest.works()


@pytest.mark.precopy
def test_bit_flips_are_refused(guest, saved, rng):
    data, _ = saved
    # Places in all parts of the image: header, heads, payloads, checksums, end.
    places = [*range(0, 64, 9), 64, 66, 68, 72, 80, 84, 87, 88, 2000, 4183, 4184, 4187, 4188,
              4190, 4192, 4196, 4204, 4208, 4212, 4240, 4267, 4268, 4272, 4274, 4276, 4280, 4288,
              4292, 4296, 4304, 4308, 4312, 4315]
    for at in places:
        wrong = bytearray(data)
        wrong[at] ^= 1 << rng.randrange(8)
        is_refused(guest, bytes(wrong))
    guest.is_fresh()
    guest.region.load(data)
    guest.works()


@pytest.mark.edu
def test_an_image_grants_no_transfer_that_a_guest_may_not_command(guest, saved):
    """An image of a wrong command under way is refused; wrong registers alone start nothing."""
    region, data = guest.region, saved[0]
    running = im.Image.parse(data)
    running.set_register(im.DMA_COMMAND, RUN | TO_MEMORY, "<Q")
    region.state = region_2018.RESUME
    with refused():
        region.set_buffer(running.build())
    guest.device.reset()

    wrong = im.Image.parse(data)
    for field, value in ((im.DMA_SOURCE, BUFFER), (im.DMA_DESTINATION, guest.IOVA),
                         (im.DMA_COUNT, 2 * BUFFER_SIZE), (im.DMA_COMMAND, TO_MEMORY)):
        wrong.set_register(field, value, "<Q")
    region.load(wrong.build())
    guest.device.enable(vfio.COMMAND_MEMORY | vfio.COMMAND_MASTER)
    assert guest.edu.read64(DMA_COUNT) == 2 * BUFFER_SIZE
    assert guest.edu.read64(DMA_COMMAND) == TO_MEMORY
    with refused():
        guest.edu.write64(DMA_COMMAND, RUN | TO_MEMORY)
    assert not guest.edu.read64(DMA_COMMAND) & RUN
    assert not any(guest.memory.bytes[: 2 * BUFFER_SIZE])
    guest.device.reset()
    guest.works()
