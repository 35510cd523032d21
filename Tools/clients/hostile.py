#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input over raw sockets. After each case the server must be there, well, with nothing left to do; every refusal must be a
typed error; memory must stay bounded. `--url` tests a server that is there already; else one is started.
"""

import argparse
import json
import sys
import threading
import time
from pathlib import Path

import hostile_bodies
import hostile_schemas
import hostile_wire
import serving
from hostile_case import CASES, Target

# What all cases together may add to the resident memory, at any moment. Most of it is KV cache and token masks.
GROWTH = 512 << 20


class Memory(threading.Thread):
    """The highest resident memory, looked at ten times a second."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.first, self.highest, self.going = pid, serving.resident_bytes(pid), 0, True

    def run(self):
        while self.going:
            try:
                self.highest = max(self.highest, serving.resident_bytes(self.pid))
            except (OSError, KeyError):
                return
            time.sleep(0.1)


def run_case(case, target: Target) -> dict:
    began = time.monotonic()
    try:
        case.function(target)
        target.well()
        why = ""
    except Exception as error:  # noqa: BLE001: whatever goes wrong is this case's failure
        why = f"{type(error).__name__}: {error}" if not isinstance(error, AssertionError) else str(error) or "assertion failed"
        if target.server and not target.server.running():
            why = f"the server ended with {target.server.process.returncode}: {why}"
            target.server.start()  # the next cases have a server
            target.url = target.server.url
    return {"name": case.name, "ok": not why, "why": why, "seconds": round(time.monotonic() - began, 2)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split(". ")[0])
    parser.add_argument("--binary", type=Path, default=serving.BINARY)
    parser.add_argument("--url")
    parser.add_argument("--filter", help="only cases whose name has this in it")
    parser.add_argument("--patience", type=float, default=75, help="seconds after which a slow client must have been let go")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logs = serving.ROOT / ".cache/clients/logs"
    server, memory = None, None
    if options.url:
        target = Target(options.url, None)
    else:
        log = logs / "server-hostile.log"
        log.unlink(missing_ok=True)
        server = serving.MoEServer(binary=options.binary, log=log)
        server.start()
        target = Target(server.url, server)
        memory = Memory(server.pid)
        memory.start()
    target.patience, target.binary, target.logs = options.patience, options.binary, logs
    # What lies lower comes first; the slow clients of the first case are looked at again in the last.
    order = [module.__name__ for module in (hostile_wire, hostile_bodies, hostile_schemas)]
    cases = sorted(CASES, key=lambda case: order.index(case.function.__module__))
    cases = [case for case in cases if not options.filter or options.filter in case.name]
    results = []
    for case in cases:
        results.append(run_case(case, target))
        last = results[-1]
        print(f"{'ok  ' if last['ok'] else 'FAIL'} {last['seconds']:6.2f} s  {case.name}" + ("" if last["ok"] else f": {last['why']}"), flush=True)
    if memory:
        memory.going = False
        grown = memory.highest - memory.first
        ok = grown <= GROWTH
        results.append({"name": "memory stays bounded", "ok": ok, "why": "" if ok else f"{grown >> 20} MiB more than at the start", "seconds": 0})
        print(f"memory: {memory.first >> 20} MiB at the start, {memory.highest >> 20} MiB at most")
    for other in target.others.values():
        other.kill()
    if server:
        try:
            code, why = server.stop(), ""
            if code != 0:
                why = f"exit code {code}"
        except serving.ServerFailure as failure:
            why = str(failure)
        results.append({"name": "SIGTERM ends the server cleanly", "ok": not why, "why": why, "seconds": 0})
    failed = sum(not one["ok"] for one in results)
    if options.json:
        options.json.write_text(json.dumps({"cases": results}, indent=1) + "\n")
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
