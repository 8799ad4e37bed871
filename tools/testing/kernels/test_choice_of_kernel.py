# SPDX-License-Identifier: GPL-2.0-only
"""Which kernel the set-up takes, and what it says, whatever the archive holds."""

import shutil

import pytest

from archive import Archive, choose
from clone import SCRIPTS

OLD, SUPPORTED, NEXT = "7.2.12+deb13-amd64", "7.3.4+deb13-amd64", "7.4.1+deb13-amd64"
VERSIONS = {OLD: "7.2.12-1~bpo13+1", SUPPORTED: "7.3.4-1~bpo13+1", NEXT: "7.4.1-1~bpo13+1"}


@pytest.fixture
def serve(tmp_path):
    """Returns a function that makes an archive of kernels; one that is there is replaced."""

    def make(*releases: str, **how) -> Archive:
        for directory in ("mirror", "trees"):
            shutil.rmtree(tmp_path / directory, ignore_errors=True)
        archive = Archive(tmp_path / "mirror")
        archive.add("rustc", "1.85.1+dfsg1-1")
        archive.add("qemu-system-x86", "1:11.1.3+ds-1")
        for release in releases:
            archive.add_kernel(release, VERSIONS[release], **how)
        archive.publish()
        return archive

    return make


@pytest.fixture
def take(tmp_path):
    """Returns a function that has the set-up choose, with one cache for the whole test."""

    def run(series: str = "7.3", **how):
        return choose(tmp_path / "mirror", tmp_path / "cache", series, **how)

    return run


def test_a_newer_series_is_passed_over_with_a_notice(serve, take):
    serve(OLD, SUPPORTED, NEXT)
    choice = take()
    assert choice.status == 0 and choice.kernel == SUPPORTED
    assert f"the archive has kernel {NEXT}; supported here: 7.3. RVFIO_RELEASE={NEXT} tries it" in choice.output


def test_no_notice_of_an_older_series(serve, take):
    serve(OLD, SUPPORTED)
    choice = take()
    assert choice.status == 0 and choice.kernel == SUPPORTED
    assert "the archive has kernel" not in choice.output


def test_the_newest_of_the_supported_series(serve, take):
    serve(OLD, SUPPORTED, NEXT)
    choice = take(series="7.4 7.3")
    assert choice.status == 0 and choice.kernel == NEXT
    assert "the archive has kernel" not in choice.output


def test_a_named_release_is_taken_and_binds_nobody_else(serve, take):
    serve(SUPPORTED, NEXT)
    assert take().kernel == SUPPORTED
    named = take(release=NEXT)
    assert named.status == 0 and named.kernel == NEXT
    assert take().kernel == SUPPORTED


def test_a_next_kernel_that_is_named_leaves_the_stock_one(serve, take):
    serve(SUPPORTED, NEXT)
    choice = take(release="99.1-amd64", kernel="next")
    assert choice.status == 0 and choice.kernel == SUPPORTED
    assert f"the archive has kernel {NEXT}" in choice.output


def test_a_named_release_that_is_not_served(serve, take):
    serve(SUPPORTED)
    choice = take(release=NEXT)
    assert choice.status != 0 and choice.kernel is None
    assert f"serves no usable kernel {NEXT}" in choice.output
    assert f"it serves: {SUPPORTED}" in choice.output


def test_a_name_without_a_patch_level(serve, take, tmp_path):
    archive = serve()
    archive.add_kernel("7.3-amd64", "7.3-1~exp1")
    archive.publish()
    choice = take()
    assert choice.status == 0 and choice.kernel == "7.3-amd64"


def test_an_unreachable_archive_leaves_what_is_cached(serve, take, tmp_path):
    serve(SUPPORTED)
    assert take().kernel == SUPPORTED
    shutil.rmtree(tmp_path / "mirror")
    choice = take()
    assert choice.status == 0 and choice.kernel == SUPPORTED
    assert "cannot be read from" in choice.output
    assert f"going on with the kernel in the cache, {SUPPORTED}" in choice.output


def test_an_unreachable_archive_and_an_empty_cache(take):
    choice = take()
    assert choice.status != 0 and choice.kernel is None
    assert "the cache holds no kernel of series 7.3" in choice.output
    assert "RVFIO_MIRROR" in choice.output


def test_a_series_that_is_gone_leaves_what_is_cached(serve, take):
    serve(SUPPORTED)
    assert take().kernel == SUPPORTED
    serve(NEXT)
    choice = take()
    assert choice.status == 0 and choice.kernel == SUPPORTED
    assert "serves no usable kernel of series 7.3" in choice.output
    assert f"going on with the kernel in the cache, {SUPPORTED}" in choice.output


def test_a_series_that_is_gone_and_an_empty_cache(serve, take):
    serve(OLD, NEXT)
    choice = take()
    assert choice.status == 0 and choice.kernel == NEXT
    assert "serves no usable kernel of series 7.3" in choice.output
    assert "the modules may not build" in choice.output


def test_an_archive_without_kernels(serve, take):
    serve()
    choice = take()
    assert choice.status != 0 and choice.kernel is None
    assert "serves no usable kernel of series 7.3" in choice.output
    assert "it serves: no kernel" in choice.output


@pytest.mark.parametrize(
    "how, reason",
    [
        ({"rustc": "1.97.1"}, "its compiler, rustc 1.97.1, is not served"),
        ({"rust": "n"}, "it is built without CONFIG_RUST"),
    ],
)
def test_why_a_kernel_is_passed_over(serve, take, how, reason):
    serve(SUPPORTED, **how)
    choice = take()
    assert choice.status != 0 and choice.kernel is None
    assert f"kernel {SUPPORTED} passed over: {reason}" in choice.output


def test_the_file_of_supported_series():
    lines = (SCRIPTS / "kernel-series").read_text().splitlines()
    series = [line for line in lines if not line.startswith("#")]
    assert series and all(len(numbers := line.split(".")) == 2 and all(map(str.isdigit, numbers)) for line in series)
