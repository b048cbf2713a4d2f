"""A Weaviate that takes everything and does nothing: what is left is the client's own cost.

python benchmarks/_null_weaviate.py    prints {"http": port, "grpc": port} when it is ready
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

VERSION = "1.38.11"
SERVING = b"\x08\x01"  # HealthCheckResponse(status=SERVING)
ANSWERS: dict[str, Any] = {
    "/v1/meta": {"version": VERSION, "hostname": "http://localhost", "modules": {}},
    "/v1/.well-known/ready": {},
    "/v1/nodes": {
        "nodes": [
            {"name": "node1", "status": "HEALTHY", "batchStats": {"queueLength": 0, "ratePerSecond": 1000}}
        ]
    },
    "/v1/schema": {"classes": []},
}


class Http(BaseHTTPRequestHandler):
    """Just enough for the client to connect."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        answer = ANSWERS.get(self.path.partition("?")[0])
        body = json.dumps(answer).encode() if answer is not None else b""
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Grpc(grpc.GenericRpcHandler):
    """Every call is answered with an empty message, unparsed; health checks with a good one."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        answer = SERVING if "Health" in details.method else b""
        return grpc.unary_unary_rpc_method_handler(lambda request, context: answer)


def main() -> None:
    http = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    size = 104_858_000
    options = [("grpc.max_receive_message_length", size), ("grpc.max_send_message_length", size)]
    server = grpc.server(ThreadPoolExecutor(8), handlers=[Grpc()], options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(json.dumps({"http": http.server_port, "grpc": port}), flush=True)
    http.serve_forever()


if __name__ == "__main__":
    main()
