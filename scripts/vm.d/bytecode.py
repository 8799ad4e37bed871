# SPDX-License-Identifier: GPL-2.0-only
"""Compiles Python files ahead, as the interpreter and pytest in the virtual machine would.

usage: bytecode.py SOURCES PATH OUTPUT

SOURCES is a directory that the machine has at PATH. OUTPUT gets the same directories, each with a
__pycache__. Interpreter and pytest compare the time and the size of a source, and take what does
not fit, or is not there, as if nothing had been compiled. Only what is out of date is compiled.
"""

import ast
import io
import os
import pathlib
import sys

from _pytest.assertion import rewrite

# Where a file's compiled form keeps the time and the size of its source.
STAMP = slice(8, 16)


def compiled(source, path, rewritten):
    """Returns the code of a file, with pytest's own assertions if it is one of tests."""
    text = source.read_bytes()
    tree = ast.parse(text, path)
    if rewritten:
        rewrite.rewrite_asserts(tree, text, path)
    return compile(tree, path, "exec", dont_inherit=True)


def update(source, path, output):
    """Compiles a file, unless that was done."""
    rewritten = source.name == "conftest.py" or source.match("test_*.py")
    tail = rewrite.PYC_TAIL if rewritten else f".{sys.implementation.cache_tag}.pyc"
    to = output / "__pycache__" / (source.stem + tail)
    stat = source.stat()
    stamp = b"".join(
        (int(value) & 0xFFFFFFFF).to_bytes(4, "little") for value in (stat.st_mtime, stat.st_size)
    )
    if to.is_file() and to.read_bytes()[STAMP] == stamp:
        return
    code = compiled(source, path, rewritten)
    image = io.BytesIO()
    rewrite._write_pyc_fp(image, stat, code)
    to.parent.mkdir(parents=True, exist_ok=True)
    # Another run may do the same now.
    new = to.with_name(f"{to.name}.{os.getpid()}")
    new.write_bytes(image.getvalue())
    new.replace(to)


def main(sources, path, output):
    """Compiles all files below a directory."""
    for source in sorted(pathlib.Path(sources).rglob("*.py")):
        below = source.relative_to(sources)
        update(source, f"{path}/{below}", pathlib.Path(output) / below.parent)


main(*sys.argv[1:])
