# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-migrate dirty` shows what a device writes while another process uses it."""

import collections
import contextlib
import os
import pathlib
import pty
import subprocess
import termios
import xml.etree.ElementTree

import pytest

from client import png
from client.watching import INSTANCES, run
from lib import modules
from lib.guest import GuestProcess
from lib.protocols import region_2018, region_v1, v2
from lib.protocols.region_2018 import PAGE

pytestmark = pytest.mark.edu

DEBUGFS = pathlib.Path("/sys/kernel/debug") / modules.DRIVER
# Pages of the guest's memory: some are neighbours, some are written twice.
PAGES = (0, 1, 2, 7, 7, 1, 40)


@pytest.fixture
def heat(looking_on):
    """Starts the command, and ends those that still run."""
    return lambda *arguments: looking_on("dirty", *arguments)


def shown(bdf):
    """Returns the lines of the driver's file."""
    return (DEBUGFS / bdf / "dirty").read_text().splitlines()


def write(guest, pages=PAGES, count=4096):
    """Makes the device write to pages of the guest's memory."""
    for page in pages:
        guest.write_memory(page * PAGE, count)


def lines_of(guest, *ranges):
    """Returns how the driver prints ranges of pages, given as first and last page."""
    return [
        f"{guest.IOVA + first * PAGE:#x}-{guest.IOVA + (last + 1) * PAGE - 1:#x}"
        for first, last in ranges
    ]


def counted(records):
    """Counts how often the samples say that a page was written, by its address."""
    pages = collections.Counter()
    for record in records:
        for written in record.get("written", ()):
            pages.update(written["iova"] + n * PAGE for n in range(written["pages"]))
    return pages


def test_the_driver_lists_dirty_pages_and_clears_none(bdfs, guest):
    bdf = bdfs[0]
    assert shown(bdf) == ["dirty_pages: not tracked"]
    guest.region.state = region_2018.SETUP
    assert shown(bdf) == ["dirty_pages: 0"]
    write(guest)
    expected = ["dirty_pages: 5", *lines_of(guest, (0, 2), (7, 7), (40, 40))]
    assert shown(bdf) == expected
    assert shown(bdf) == expected
    # A transfer across the border of two pages.
    guest.write_memory(11 * PAGE - 1, 2)
    assert lines_of(guest, (10, 11))[0] in shown(bdf)
    # The region's client still gets every page.
    dirty = guest.region.dirty(guest.IOVA, 64)
    assert dirty == {guest.IOVA + page * PAGE for page in (0, 1, 2, 7, 10, 11, 40)}
    assert shown(bdf) == ["dirty_pages: 0"]
    guest.region.state = region_2018.RUNNING
    assert shown(bdf) == ["dirty_pages: not tracked"]


def test_writes_are_seen_with_and_without_tracking(bdfs, pair, heat):
    guest, other = pair
    seen = heat(bdfs[0], "--interval", "20ms")
    instance = INSTANCES / f"vfio-migrate-{seen.process.pid}"
    assert instance.is_dir()
    assert seen.first["dirty_pages"] is None and seen.first["pages"] == 0
    write(guest)
    # The pages of the other device are not reported for this one.
    write(other, (100,))
    seen.until(lambda sample: sample["pages"] >= len(PAGES))
    guest.region.state = region_2018.SETUP
    write(guest, (3, 3))
    last = seen.until(lambda sample: sample["pages"] >= len(PAGES) + 2)
    seen.until(lambda sample: sample["dirty_pages"] == 1)
    assert seen.end() == 0
    assert not instance.exists()

    assert last["driver"] == modules.DRIVER and last["lost"] == 0
    # Each transfer counts once, although the driver marks its page again when it is done.
    assert last["writes"] == last["pages"] == len(PAGES) + 2
    assert last["distinct_pages"] == len({*PAGES, 3})
    addresses = {guest.IOVA + page * PAGE for page in (*PAGES, 3)}
    assert set(counted(seen.records)) == addresses
    assert any(record.get("pages_per_second") for record in seen.records)

    *_, end = seen.records
    assert end["type"] == "map" and end["picture"] is None
    assert end["bytes_of_row"] == PAGE
    rows = {row["iova"]: row for row in end["rows"]}
    assert sum(sum(row["pages"]) for row in rows.values()) == len(PAGES) + 2
    assert sum(rows[guest.IOVA + 3 * PAGE]["pages"]) == 2
    dirty = [iova for iova, row in rows.items() if row["dirty"]]
    assert dirty == [guest.IOVA + 3 * PAGE]


@contextlib.contextmanager
def pre_copy_v1(device):
    with region_v1.RegionV1(device) as region:
        region.state = region_v1.PRE_COPY
        yield
        region.state = region_v1.RUNNING


@contextlib.contextmanager
def pre_copy_v2(device):
    migration = v2.MigrationV2(device)
    with migration.set(v2.PRE_COPY):
        yield
    migration.set(v2.RUNNING)


@pytest.mark.parametrize("pre_copy", [pre_copy_v1, pre_copy_v2])
def test_writes_are_seen_where_the_container_tracks(bdfs, guest, heat, pre_copy):
    seen = heat(bdfs[0], "--interval", "20ms")
    with pre_copy(guest.device):
        write(guest)
        last = seen.until(lambda sample: sample["pages"] >= len(PAGES))
        assert shown(bdfs[0]) == ["dirty_pages: not tracked"]
    assert seen.end() == 0
    assert last["pages"] == len(PAGES) and last["dirty_pages"] is None
    assert set(counted(seen.records)) == {guest.IOVA + page * PAGE for page in PAGES}


def test_pictures_show_what_was_written(bdfs, guest, heat, tmp_path):
    guest.region.state = region_2018.SETUP
    files = [tmp_path / "pages.png", tmp_path / "pages.svg"]
    watches = [heat(bdfs[0], "--interval", "20ms", "-o", file) for file in files]
    write(guest)
    for seen, file in zip(watches, files):
        seen.until(lambda sample: sample["pages"] >= len(PAGES))
        # The file appears once it is whole.
        assert not file.exists()
        assert seen.end() == 0
        assert seen.records[-1]["picture"] == str(file)
    assert sorted(tmp_path.iterdir()) == sorted(files)

    width, height, pixels = png.pixels(files[0].read_bytes())
    assert (width, height) == (1200, 760) and len(pixels) == width * height
    colours = collections.Counter(pixels)
    least = {"paper": 200_000, "ground": 200_000, "one page": 20, "bars": 100, "dirty": 200}
    values = {
        "paper": (255, 255, 255),
        "ground": (242, 243, 246),
        "one page": (254, 217, 118),
        "bars": (74, 118, 176),
        "dirty": (22, 140, 122),
    }
    assert {name: colours[values[name]] >= least[name] for name in least} == dict.fromkeys(least, 1)
    # Letters add shades of their colour.
    assert len(colours) > 60

    svg = xml.etree.ElementTree.parse(files[1]).getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert svg.tag == name + "svg"
    fills = collections.Counter(rect.get("fill") for rect in svg.iter(name + "rect"))
    assert fills["#fed976"] and fills["#4a76b0"] and fills["#168c7a"]
    texts = [text.text for text in svg.iter(name + "text")]
    assert f"{guest.IOVA:#x}" in texts and "pages/s" in texts
    assert any(text.startswith(bdfs[0]) for text in texts)


def test_it_ends_by_itself_and_prints_a_map(bdfs, guest, vfio_migrate):
    guest.start_to_memory(5)
    guest.edu.wait_transfer()
    process = subprocess.Popen(
        [vfio_migrate, "dirty", bdfs[0], "--for", "3", "--interval", "100ms"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "pages=0" in process.stdout.readline()
    write(guest, (0, 0, 5))
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert "pages=3 distinct_pages=2 dirty_pages=untracked" in output
    assert "dirty, not reported yet: not tracked by the driver" in output
    rows = {line.split()[0] for line in output.splitlines() if "|" in line}
    assert {"0x100000", "0x105000", "pages/s"} <= rows
    assert output.isascii()


def test_a_picture_goes_to_standard_output(bdfs, guest, vfio_migrate):
    process = subprocess.Popen(
        [vfio_migrate, "dirty", bdfs[0], "--for", "3", "--interval", "100ms", "-o", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert b"pages=0" in process.stderr.readline()
    write(guest, (0, 5))
    picture, lines = process.communicate()
    assert process.returncode == 0, lines
    width, height, _ = png.pixels(picture)
    assert (width, height) == (1200, 760)
    assert b"pages=2 distinct_pages=2" in lines


def test_a_terminal_shows_a_map_in_colours(bdfs, guest, vfio_migrate):
    main, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (30, 90))
    process = subprocess.Popen(
        [vfio_migrate, "dirty", bdfs[0], "--for", "3", "--interval", "100ms"],
        stdin=terminal,
        stdout=terminal,
        env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
    )
    os.close(terminal)
    output = os.read(main, 65536)
    write(guest, (0, 1, 2))
    try:
        while chunk := os.read(main, 65536):
            output += chunk
    except OSError:  # The other end is closed.
        pass
    os.close(main)
    assert process.wait() == 0
    text = output.decode()
    assert "3 pages written, 3 different ones" in text
    assert "0x102000 │" in text and "\x1b[38;5;222m█" in text


@pytest.mark.physical
def test_a_device_that_loses_its_driver_leaves_a_picture(bdfs, heat, tmp_path):
    file = tmp_path / "pages.png"
    seen = heat(bdfs[0], "--interval", "20ms", "-o", file)
    client = GuestProcess(bdfs[0], lambda guest: write(guest, (0, 1)))
    client.kill()
    modules.unbind(bdfs[0])
    assert "not bound" in seen.until(lambda record: "error" in record)["error"]["message"]
    assert seen.process.wait() == 3
    assert set(counted(seen.records)) >= {0x100000, 0x101000}
    assert file.read_bytes().startswith(png.SIGNATURE)


@pytest.mark.physical
def test_what_is_missing_is_said(bdfs, vfio_migrate, tmp_path):
    def refused(status, *arguments, **options):
        code, output, errors = run(vfio_migrate, "dirty", bdfs[0], *arguments, **options)
        assert (code, output) == (status, "")
        assert not list(INSTANCES.glob("vfio-migrate-*"))
        return errors

    def without(path):
        return ("unshare", "--mount", "sh", "-c", f'umount -R -l {path} && exec "$@"', "sh")

    assert "run as root" in refused(3, user="nobody")
    errors = refused(3, within=without("/sys/kernel/debug"))
    assert "mount -t debugfs debugfs /sys/kernel/debug" in errors
    errors = refused(3, "-o", tmp_path / "a.svg", within=without("/sys/kernel/tracing"))
    assert "mount -t tracefs tracefs /sys/kernel/tracing" in errors
    assert str(tmp_path / "none") in refused(1, "-o", tmp_path / "none" / "a.png")
    assert ".png or .svg" in refused(2, "-o", tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())
    modules.unbind(bdfs[0])
    assert f"scripts/bind {bdfs[0]}" in refused(3)
