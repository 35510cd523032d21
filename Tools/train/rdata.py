# SPDX-License-Identifier: Apache-2.0
"""Jane Austen's novels out of Debian's package r-cran-janeaustenr: character vectors in an R lazy-load database.

Only what such a file holds is read: a sequence of zlib pieces, each a serialised vector of strings (R Internals, 1.8).
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from pathlib import Path

PACKAGE = "r-cran-janeaustenr"
INSIDE = "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
INSTALLED = Path("/") / INSIDE


class MissingSource(Exception):
    """A corpus is not there; the text says what to do."""


def fetch(folder: Path) -> Path:
    """The database: of the installed package, else of one that apt-get downloads into `folder` (nothing is installed)."""
    unpacked = folder / INSIDE
    if INSTALLED.exists():
        return INSTALLED
    if not unpacked.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise MissingSource(f"the novels are missing: put {INSIDE} of Debian's package {PACKAGE} into {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, capture_output=True, text=True)
        archives = sorted(folder.glob(f"{PACKAGE}_*.deb"))
        if done.returncode != 0 or not archives:
            raise MissingSource(
                f"the novels are missing: 'apt-get download {PACKAGE}' failed; put {INSIDE} of that package into {folder}")
        subprocess.run(["dpkg-deb", "-x", archives[-1].name, "."], cwd=folder, check=True)
    return unpacked


def _strings(data: bytes) -> list[str] | None:
    """The strings of a serialised character vector; None for anything else."""
    if data[:2] != b"X\n":
        return None
    version, = struct.unpack_from(">i", data, 2)
    at = 14
    if version == 3:  # the native encoding's name
        length, = struct.unpack_from(">i", data, at)
        at += 4 + length
    flags, count = struct.unpack_from(">ii", data, at)
    if flags & 0xFF != 16:
        return None
    at += 8
    strings = []
    for _ in range(count):
        _, length = struct.unpack_from(">ii", data, at)
        at += 8
        strings.append(data[at:at + max(length, 0)].decode("utf-8"))
        at += max(length, 0)
    return strings


def novels(path: Path) -> dict[str, list[str]]:
    """Title, the first line -> the book's lines."""
    data, at, books = path.read_bytes(), 0, {}
    while at + 4 < len(data):
        # The uncompressed size, then a zlib stream of unknown length.
        piece = zlib.decompressobj()
        content = piece.decompress(data[at + 4:])
        at = len(data) - len(piece.unused_data)
        lines = _strings(content)
        if lines and len(lines) > 1000:
            books[next(line for line in lines if line.strip()).strip()] = lines
    if len(books) < 6:
        raise MissingSource(f"{path}: {len(books)} novels, 6 expected")
    return books
