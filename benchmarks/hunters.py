"""Gift-hunters: people arrive at a rate of their own, whoever was answered (open loop), each on a new connection.

Run as a process (`python -m benchmarks.hunters`), it reads what to do as JSON from its standard input and prints what
it saw as JSON: answers by status with their latencies from the moment of arrival, refusals without `Retry-After`, and
who was not answered within `patience` seconds.
"""

import json
import resource
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.client import _read, orders


class _Hunter:
    """One arrival: a connection, what is still to be sent, and what has come of its answer."""

    def __init__(self, port: int, request: bytes, arrived: float) -> None:
        self.arrived, self.unsent, self.answer = arrived, request, b""
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))


def hunt(port: int, requests: Iterator[bytes], *, rate: float, seconds: float, patience: float) -> dict[str, Any]:
    """Let `rate` people a second arrive for `seconds`; wait `patience` seconds for the last answer."""
    chooser = selectors.DefaultSelector()
    waiting: dict[int, _Hunter] = {}
    latencies: dict[int, list[float]] = {}
    seen = {"lost": 0, "without_retry_after": 0, "late_arrivals": 0}
    begun = time.perf_counter()
    arrivals, total = 0, int(rate * seconds)

    def leave(hunter: _Hunter) -> None:
        chooser.unregister(hunter.socket)
        del waiting[hunter.socket.fileno()]
        hunter.socket.close()

    while arrivals < total or waiting:
        now = time.perf_counter()
        due = min(total, int((now - begun) * rate) + 1)
        seen["late_arrivals"] = max(seen["late_arrivals"], due - arrivals)
        while arrivals < due:
            hunter = _Hunter(port, next(requests), begun + arrivals / rate)
            waiting[hunter.socket.fileno()] = hunter
            chooser.register(hunter.socket, selectors.EVENT_WRITE, hunter)
            arrivals += 1
        for key, events in chooser.select(timeout=max(0.0, min(0.05, begun + arrivals / rate - now))):
            hunter = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    hunter.unsent = hunter.unsent[hunter.socket.send(hunter.unsent) :]
                    if not hunter.unsent:
                        chooser.modify(hunter.socket, selectors.EVENT_READ, hunter)
                    continue
                received = hunter.socket.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                received = b""
            hunter.answer += received
            status, whole, _ = _read(hunter.answer)
            if whole:
                latencies.setdefault(status, []).append(time.perf_counter() - hunter.arrived)
                if status in (429, 503) and b"\r\nretry-after:" not in hunter.answer.lower():
                    seen["without_retry_after"] += 1
                leave(hunter)
            elif not received:
                seen["lost"] += 1
                leave(hunter)
        # The first of a dict came first: who came after has not waited longer.
        while waiting and now - (first := next(iter(waiting.values()))).arrived > patience:
            seen["lost"] += 1
            leave(first)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    took = time.perf_counter() - begun
    return {
        "arrivals": arrivals,
        "seconds": took,
        **seen,
        "statuses": {str(status): len(times) for status, times in latencies.items()},
        "p50_ms": {str(status): _percentile(times, 50) for status, times in latencies.items()},
        "p99_ms": {str(status): _percentile(times, 99) for status, times in latencies.items()},
        "slowest_ms": {str(status): round(max(times) * 1000, 1) for status, times in latencies.items()},
        "cpu": (usage.ru_utime + usage.ru_stime) / took,
    }


def _percentile(times: list[float], percent: int) -> float:
    return round(sorted(times)[len(times) * percent // 100] * 1000, 1)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asked = json.load(sys.stdin)
    found = hunt(
        asked["port"], orders(asked), rate=asked["rate"], seconds=asked["seconds"], patience=asked.get("patience", 10)
    )
    json.dump(found, sys.stdout)
