"""Fits a line by gradient descent on NNODES workers; the gradients are summed over a ring (all-reduce)."""

import argparse
import json
import os
import random
import socket
import struct
import time
from pathlib import Path

RANK, NODES = int(os.environ["NODE_RANK"]), int(os.environ["NNODES"])
MASTER = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
PATIENCE = 60.0


class Ring:
    """Worker k sends to worker k+1. Worker 0 tells everybody where everybody listens."""

    def __init__(self) -> None:
        self.listener = socket.create_server((MASTER[0] if RANK == 0 else "", 0))
        own = self.listener.getsockname()[1]
        if RANK == 0:
            addresses = self.gather(own)
        else:
            addresses = self.report(own)
        host, port = addresses[(RANK + 1) % NODES]
        self.next = connect((host, port))
        self.listener.settimeout(PATIENCE)
        self.previous, _ = self.listener.accept()
        self.next.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def gather(self, own: int) -> list:
        addresses = [(MASTER[0], own)] + [("", 0)] * (NODES - 1)
        with socket.create_server(MASTER) as meeting:
            meeting.settimeout(PATIENCE)
            guests = []
            while len(guests) < NODES - 1:
                guest, (host, _) = meeting.accept()
                rank, port = struct.unpack("!II", exactly(guest, 8))
                addresses[rank] = (host, port)
                guests.append(guest)
            for guest in guests:
                guest.sendall(json.dumps(addresses).encode() + b"\n")
                guest.close()
        return addresses

    def report(self, own: int) -> list:
        with connect(MASTER) as master:
            master.sendall(struct.pack("!II", RANK, own))
            return json.loads(master.makefile().readline())

    def sum(self, values: list) -> list:
        """Every worker's values, added up, at every worker: each part goes once around the ring."""
        total, passing = list(values), list(values)
        for _ in range(NODES - 1):
            self.next.sendall(struct.pack(f"!{len(passing)}d", *passing))
            passing = list(struct.unpack(f"!{len(passing)}d", exactly(self.previous, 8 * len(passing))))
            total = [a + b for a, b in zip(total, passing)]
        return total


def connect(address) -> socket.socket:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(tuple(address), timeout=PATIENCE)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def exactly(stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            raise ConnectionError("a neighbour in the ring has gone")
        data += part
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    args = parser.parse_args()

    dice = random.Random(7)
    points = [(x, 3.0 * x - 1.0 + dice.gauss(0, 0.1)) for x in (dice.uniform(-1, 1) for _ in range(4_000))]
    own = points[RANK::NODES]
    ring = Ring()
    print(f"worker {RANK} of {NODES}: {len(own)} of {len(points)} points", flush=True)
    slope = offset = 0.0
    for step in range(1, 201):
        errors = [(slope * x + offset - y, x) for x, y in own]
        gradient = [sum(e * x for e, x in errors), sum(e for e, _ in errors), sum(e * e for e, _ in errors)]
        by_slope, by_offset, loss = (value / len(points) for value in ring.sum(gradient))
        slope, offset = slope - 0.5 * by_slope, offset - 0.5 * by_offset
        if step % 50 == 0:
            print(f"step {step}: loss {loss:.5f}, y = {slope:.3f} x {offset:+.3f}", flush=True)
            if RANK == 0 and "RUNYARD_METRICS" in os.environ:
                with open(os.environ["RUNYARD_METRICS"], "a", encoding="utf-8") as file:
                    file.write(json.dumps({"step": step, "loss": loss}) + "\n")
    assert abs(slope - 3.0) < 0.05 and abs(offset + 1.0) < 0.05, (slope, offset)
    args.out.mkdir(exist_ok=True)
    (args.out / "line.json").write_text(json.dumps({"slope": slope, "offset": offset}))


if __name__ == "__main__":
    main()
