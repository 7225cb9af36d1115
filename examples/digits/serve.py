"""Answers POST /predict {"pixels": [[64 numbers], …]} with {"digits": […]}. Nothing but the standard library."""

import itertools
import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import joblib
import numpy as np

MODEL = joblib.load(Path(os.environ["RUNYARD_MODEL"]) / "model.joblib")
VERSION = os.environ.get("RUNYARD_MODEL_VERSION", "")
# For the demonstration: what no offline evaluation can see.
FAULT = os.environ.get("FAULT", "false") == "true"
PREDICTIONS = itertools.count(1)
BODY_BYTES_MAX = 4 << 20


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write an answer, sent at once.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/ready":
            self.answer(200, {"ready": True, "version": VERSION})
        else:
            self.answer(404, {"error": f"there is no {self.path}; try POST /predict"})

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        if length > BODY_BYTES_MAX:
            self.close_connection = True
            self.answer(413, {"error": f"at most {BODY_BYTES_MAX} bytes"})
            return
        body = self.rfile.read(length)
        if self.path != "/predict":
            self.answer(404, {"error": f"there is no {self.path}; try POST /predict"})
            return
        if FAULT and next(PREDICTIONS) % 5 == 0:
            self.answer(500, {"error": "this server is broken on purpose"})
            return
        try:
            pixels = np.asarray(json.loads(body)["pixels"], dtype=np.float32)
            if pixels.ndim != 2 or pixels.shape[1] != 64 or not np.isfinite(pixels).all():
                raise ValueError("`pixels` is a list of lists of 64 finite numbers")
        except (KeyError, TypeError, ValueError) as error:
            self.answer(400, {"error": str(error)})
            return
        digits = MODEL.predict(pixels) if len(pixels) else []
        self.answer(200, {"digits": [int(digit) for digit in digits], "version": VERSION})

    def answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_request(self, code="-", size="-") -> None:
        """Only what failed is worth a line."""
        if str(code).startswith("5"):
            super().log_request(code, size)


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def main() -> None:
    server = Server((os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])), Handler)
    # `shutdown` waits for the loop to end, so it must not be called by the thread that runs it.
    signal.signal(
        signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start()
    )
    print(f"serving digits version {VERSION} on port {server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
