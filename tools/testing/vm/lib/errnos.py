# SPDX-License-Identifier: GPL-2.0-only
"""Calls that must fail, and their errors."""

import contextlib
import errno


@contextlib.contextmanager
def refused(error=errno.EINVAL):
    """Fails unless the block fails with that errno."""
    try:
        yield
    except OSError as found:
        assert found.errno == error, f"{errno.errorcode[found.errno]}: {found}"
        return
    raise AssertionError(f"succeeded instead of {errno.errorcode[error]}")


def error_of(call, *arguments):
    """Returns the errno of a call, 0 if it succeeds."""
    try:
        call(*arguments)
    except OSError as found:
        return found.errno
    return 0
