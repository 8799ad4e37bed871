# SPDX-License-Identifier: GPL-2.0-only
"""Data files that outlive the session, the device, the binding and the process."""

import errno
import os
import signal
import threading
import time

import pytest

from lib import modules
from lib.clients import IMAGE, Client
from lib.errnos import refused
from lib.protocols import v2
from lib.resets import find_resettable, reset_by_others

STATES = (*v2.SAVING, v2.RESUMING)


def uses():
    with open(f"/sys/module/{modules.DRIVER}/refcnt", encoding="ascii") as file:
        return int(file.read())


def orphan(bdf, state):
    """Returns the data file of a device that was closed."""
    with Client(bdf) as guest:
        file = guest.v2.set(state)
        if state != v2.RESUMING:
            assert file.read(10)
    return file


def ends(file):
    file.is_dead()
    with refused(errno.EINVAL):
        file.precopy_info()


@pytest.mark.parametrize("state", STATES)
def test_a_file_outlives_the_device(bdfs, rng, state):
    with orphan(bdfs[0], state) as file:
        ends(file)
        with Client(bdfs[0]) as guest:
            guest.is_fresh()
            ends(file)
            with guest.v2.set(v2.STOP_COPY) as new:
                ends(file)
                assert len(new.drain()) == IMAGE
                guest.v2.set(v2.RUNNING)
            guest.works(rng)
        ends(file)


@pytest.mark.parametrize("state", STATES)
def test_a_file_outlives_the_binding(bdfs, rng, state):
    with orphan(bdfs[0], state) as file:
        # Unbinding does not wait for the file.
        begin = time.monotonic()
        modules.unbind(bdfs[0])
        assert time.monotonic() - begin < 10
        ends(file)
        modules.bind(bdfs[0])
        ends(file)
        with Client(bdfs[0]) as guest:
            guest.works(rng)
            ends(file)
        modules.unbind(bdfs[0])
        file.close()
    modules.bind(bdfs[0])
    with Client(bdfs[0]) as guest:
        guest.is_fresh()


def test_files_of_many_bindings(bdfs):
    before = uses()
    files = []
    for number in range(4):
        files.append(orphan(bdfs[0], STATES[number]))
        modules.unbind(bdfs[0])
        modules.bind(bdfs[0])
        assert uses() == before + len(files)
        for file in files:
            ends(file)
    while files:
        files.pop(0).close()
        assert uses() == before + len(files)


def test_the_module_stays_as_long_as_a_file(bdfs):
    with orphan(bdfs[0], v2.PRE_COPY) as file:
        for bdf in bdfs:
            modules.unbind(bdf)
        assert uses() == 1
        status, output = modules.run("rmmod", modules.DRIVER)
        assert status != 0 and "in use" in output
        ends(file)
    assert uses() == 0
    modules.unload()
    modules.load()
    for bdf in bdfs:
        modules.bind(bdf)


@pytest.mark.parametrize("state", STATES)
def test_unbind_waits_for_the_device_and_not_for_the_file(bdfs, state):
    guest = Client(bdfs[0])
    with guest.v2.set(state) as file:
        thread = threading.Thread(target=modules.unbind, args=(bdfs[0],))
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive()
        assert guest.v2.state == state
        if state == v2.RESUMING:
            file.write(b"RVFIO")
        else:
            guest.v2.set(v2.STOP_COPY)
            assert len(file.drain()) == IMAGE
        guest.close()
        thread.join(30)
        assert not thread.is_alive()
        ends(file)
    modules.bind(bdfs[0])


@pytest.mark.parametrize("state", STATES)
def test_a_killed_process(bdfs, state):
    """Whichever of device and file is closed first, the device is fresh."""
    before = uses()
    ready, done = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            guest = Client(bdfs[0])
            file = guest.v2.set(state)
            if state != v2.RESUMING:
                file.read(500)
            os.write(done, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.close(done)
    assert os.read(ready, 1) == b"1"
    os.close(ready)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with Client(bdfs[0]) as guest:
        guest.is_fresh()
    assert uses() == before


def test_a_process_that_got_the_file_keeps_it(bdfs):
    """A process that reads when the device is closed gets an error, not the data of others."""
    with Client(bdfs[0]) as guest:
        file = guest.v2.set(v2.PRE_COPY)
        file.drain()
        ready, done = os.pipe()
        pid = os.fork()
        if not pid:
            status = 1
            try:
                # The descriptors of the device belong to the parent.
                guest.close()
                os.write(done, b"1")
                while True:
                    if file.poll(20) & ~1:
                        break
                try:
                    file.read()
                except OSError as error:
                    status = 0 if error.errno == errno.ENODEV else error.errno
            finally:
                os._exit(status)
        os.close(done)
        assert os.read(ready, 1) == b"1"
        os.close(ready)
        file.close()
        guest.device.reset()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.physical
def test_a_reset_by_others_is_not_caught_up_by_a_file(log):
    """When only a file is left, the function is no longer the driver's."""
    bdf = find_resettable()
    if not modules.is_loaded():
        modules.load()
    for unbind in (False, True):
        modules.bind(bdf)
        with orphan(bdf, v2.PRE_COPY) as file:
            reset_by_others(bdf)
            if unbind:
                modules.unbind(bdf)
            log.take()
            ends(file)
            assert not log.take()
    modules.bind(bdf)
    with Client(bdf) as guest:
        guest.is_fresh()
    modules.unbind(bdf)


def test_the_state_of_a_new_binding_is_shown(bdfs):
    """A file of an earlier binding does not keep its directory in debugfs."""
    path = f"/sys/kernel/debug/{modules.DRIVER}/{bdfs[0]}/migration"
    if not os.path.exists("/sys/kernel/debug/bdi"):
        modules.run("mount", "-t", "debugfs", "none", "/sys/kernel/debug")
    with orphan(bdfs[0], v2.PRE_COPY):
        modules.unbind(bdfs[0])
        assert not os.path.exists(path)
        modules.bind(bdfs[0])
        with open(path, encoding="ascii") as shown:
            lines = shown.read().splitlines()
        assert "state: RUNNING" in lines
        assert "bytes_saved: 0" in lines, "the counters begin at the binding"
