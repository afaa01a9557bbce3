"""A load client that is light enough not to be the measurement: one process, one selector, ready-made bytes.

Run as a process of its own (`python -m benchmarks.client`), it reads what to do as JSON from its standard input and
prints what it saw as JSON: answers by status, latencies, and the CPU seconds it took itself.
"""

import json
import resource
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Seen:
    """What a run saw: latencies in seconds by status; 0 counts connections refused or cut."""

    latencies: dict[int, list[float]] = field(default_factory=dict)
    seconds: float = 0.0

    def note(self, status: int, took: float) -> None:
        """Count an answer."""
        self.latencies.setdefault(status, []).append(took)


class _Line:
    """One client: a connection, the request under way, and what has come of its answer."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.begun = 0.0
        self.answer = b""


def drive(port: int, requests: Iterator[bytes], *, clients: int, seconds: float) -> Seen:
    """Keep `clients` requests under way for `seconds` (or until there are no more), each client one after the other."""
    seen = Seen()
    chooser = selectors.DefaultSelector()
    started = time.perf_counter()
    until = started + seconds
    busy = 0

    def begin(line: _Line) -> bool:
        request = next(requests, None) if time.perf_counter() < until else None
        if request is None:
            _close(chooser, line)
            return False
        line.answer, line.begun = b"", time.perf_counter()
        try:
            if line.socket is None:
                line.socket = socket.create_connection(("127.0.0.1", port))
                line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                chooser.register(line.socket, selectors.EVENT_READ, line)
            line.socket.sendall(request)
        except OSError:
            seen.note(0, time.perf_counter() - line.begun)
            _close(chooser, line)
            return begin(line)
        return True

    for _ in range(clients):
        busy += begin(_Line())
    while busy:
        for key, _ in chooser.select(timeout=30):
            line: _Line = key.data
            assert line.socket is not None
            try:
                received = line.socket.recv(65536)
            except OSError:
                received = b""
            line.answer += received
            status, whole, closes = _read(line.answer)
            if not whole and received:
                continue
            seen.note(status if whole else 0, time.perf_counter() - line.begun)
            if closes or not whole:
                _close(chooser, line)
            busy -= not begin(line)
    seen.seconds = time.perf_counter() - started
    return seen


def _close(chooser: selectors.BaseSelector, line: _Line) -> None:
    if line.socket is not None:
        chooser.unregister(line.socket)
        line.socket.close()
        line.socket = None


def _read(answer: bytes) -> tuple[int, bool, bool]:
    """Return an answer's status, whether all of it has come, and whether the server closes behind it."""
    head, gap, body = answer.partition(b"\r\n\r\n")
    if not gap:
        return 0, False, False
    lower = head.lower()
    at = lower.find(b"content-length:")
    length = int(lower[at + 15 : lower.find(b"\r", at) if b"\r" in lower[at:] else None]) if at >= 0 else 0
    return int(head[9:12]), len(body) >= length, b"connection: close" in lower


def orders(work: dict[str, Any]) -> Iterator[bytes]:
    """The requests of work 1 (two lines from the packs) or, with one pack, of the rush: each member in turn."""
    packs, tokens = work["packs"], work["tokens"]
    for number in range(work.get("first", 0), work.get("first", 0) + work.get("count", 10**9)):
        wanted = [packs[number % len(packs)], packs[(number * 7 + number // len(packs) + 1) % len(packs)]]
        if len(packs) == 1 or wanted[0] == wanted[1]:
            wanted = wanted[:1] if len(packs) == 1 else [wanted[0], packs[(number + 1) % len(packs)]]
        lines = [{"pack_id": pack, "quantity": 1} for pack in wanted]
        body = json.dumps(
            {
                "campaign": work["campaign"],
                "lines": lines,
                "payable_fen": work["payable_fen"],
                "delivery": {
                    "kind": "ship",
                    "name": "王芳",
                    "phone": "13800000001",
                    "region": "青岛",
                    "address": "海尔路 1 号",
                },
            }
        ).encode()
        yield (
            b"POST /api/v1/orders HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/json\r\nAuthorization: Bearer "
            + tokens[number % len(tokens)].encode()
            + b"\r\nIdempotency-Key: "
            + f"{work['name']}-{number}".encode()
            + b"\r\nContent-Length: "
            + str(len(body)).encode()
            + b"\r\n\r\n"
            + body
        )


def gets(work: dict[str, Any]) -> Iterator[bytes]:
    """The same GETs again and again, in turn."""
    while True:
        for path in work["paths"]:
            yield b"GET " + path.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


KINDS: dict[str, Callable[[dict[str, Any]], Iterator[bytes]]] = {"orders": orders, "gets": gets}


def summary(seen: Seen) -> dict[str, Any]:
    """Return what a run saw as numbers: answers by status, percentiles of the accepted in milliseconds, own CPU."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    good = sorted(took for status, times in seen.latencies.items() if 200 <= status < 300 for took in times)
    return {
        "seconds": seen.seconds,
        "statuses": {str(status): len(times) for status, times in seen.latencies.items()},
        "p50_ms": good[len(good) // 2] * 1000 if good else None,
        "p99_ms": good[len(good) * 99 // 100] * 1000 if good else None,
        "slowest_ms": max((max(times) for times in seen.latencies.values()), default=0) * 1000,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
    }


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    found = drive(asked["port"], KINDS[asked["kind"]](asked), clients=asked["clients"], seconds=asked["seconds"])
    json.dump(summary(found), sys.stdout)
