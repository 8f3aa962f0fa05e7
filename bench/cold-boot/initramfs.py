#!/usr/bin/env python3
"""Writes an initramfs of a few files in its root: the kernel's "newc" form of cpio
(Documentation/driver-api/early-userspace/buffer-format.rst), for machines that have no cpio.

usage: initramfs.py ARCHIVE FILE...
"""

import pathlib
import sys

EXECUTABLE = 0o100755
# The console, without which process 1 could not say what went wrong.
CHARACTER_DEVICE = 0o020600
CONSOLE = (5, 1)


def entry(number, name, mode, content=b"", device=(0, 0)):
    """One member: thirteen numbers of eight hexadecimal digits, name and content padded to four bytes."""
    name = name.encode() + b"\0"
    numbers = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % value for value in numbers)
    return padded(header + name) + padded(content)


def padded(data):
    return data + bytes(-len(data) % 4)


def main(archive, *files):
    members = [entry(1, "dev", 0o040755), entry(2, "dev/console", CHARACTER_DEVICE, device=CONSOLE)]
    for number, path in enumerate(map(pathlib.Path, files), start=3):
        members.append(entry(number, path.name, EXECUTABLE, path.read_bytes()))
    members.append(entry(0, "TRAILER!!!", 0))
    pathlib.Path(archive).write_bytes(b"".join(members))


main(*sys.argv[1:])
