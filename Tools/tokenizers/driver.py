#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Talks to Benchmarks/Tokenizers, which cuts and encodes texts in bulk; its header says how."""
import struct
import subprocess
import threading


def _string(text):
    data = text.encode() if isinstance(text, str) else bytes(text)
    return struct.pack("<i", len(data)) + data


class Driver:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _send(self, *parts):
        self.process.stdin.write(b"".join(parts))
        self.process.stdin.flush()

    def _read(self, count):
        data = self.process.stdout.read(count)
        if len(data) != count:
            raise RuntimeError(f"the driver ended with status {self.process.wait()}")
        return data

    def _number(self):
        return struct.unpack("<i", self._read(4))[0]

    def _list(self):
        count = self._number()
        return None if count < 0 else list(struct.unpack(f"<{count}i", self._read(4 * count)))

    def _bulk(self, head, texts):
        """Many texts in one command; a thread writes, so that neither pipe fills up while the other side waits."""
        texts = list(texts)
        parts = [head, struct.pack("<i", len(texts)), *map(_string, texts)]
        writer = threading.Thread(target=self._send, args=parts)
        writer.start()
        for _ in texts:
            yield self._list()
        writer.join()

    def pieces(self, name, texts):
        return list(self._bulk(b"S" + _string(name), texts))

    def pattern_pieces(self, pattern, engine, texts):
        return list(self._bulk(b"R" + _string(pattern) + _string(engine), texts))

    def load(self, path):
        """None, or the message of the error."""
        self._send(b"L", _string(str(path)))
        count = self._number()
        return self._read(count).decode() if count else None

    def encode(self, texts, special=False, parse=False):
        return list(self._bulk(b"E" + struct.pack("<i", special + 2 * parse), texts))

    def decode(self, ids):
        self._send(b"D", struct.pack("<ii", 1, len(ids)), struct.pack(f"<{len(ids)}i", *ids))
        return self._read(self._number()).decode()

    def time(self, text, repetitions=3):
        """Seconds of the fastest run, and the number of ids."""
        self._send(b"T", struct.pack("<i", repetitions), _string(text))
        low, high, count = struct.unpack("<IiI", self._read(12))
        return (low | high << 32) / 1e9, count
