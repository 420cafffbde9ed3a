"""Answers like a provider, with the wire fixtures that the providers' own tests read: the same bytes, over a socket.

Each protocol has a base path; what of a fixture is served depends on whether the request asks for a stream and
whether it offers tools. A streamed body is sent in pieces of odd sizes, so that no event comes in one piece.
"""

import http.server
import json
import pathlib
import threading

PIECE = 37

FIXTURES = pathlib.Path(__file__).parents[2] / "crates/longhaul-providers/tests/fixtures"

# By base path: a whole answer, one that calls a tool, a stream, one that calls a tool.
FILES = {
    "/openai/v1/chat/completions": (
        "openai/chat.json", "openai/chat_tools.json", "openai/chat_stream.sse", "openai/tools_stream.sse",
    ),
    "/openai/v1/responses": (
        "responses/response.json", "responses/response.json", "responses/stream.sse", "responses/stream.sse",
    ),
    "/anthropic/v1/messages": (
        "anthropic/message.json", "anthropic/message.json", "anthropic/stream.sse", "anthropic/tools_stream.sse",
    ),
    "/gemini/v1beta/models/": (
        "gemini/answer.json", "gemini/answer.json", "gemini/stream.sse", "gemini/stream.sse",
    ),
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        name = self.fixture(body)
        path = FIXTURES / name if name else None
        if path is None or not path.is_file():
            self.reply(404, "application/json", json.dumps({"error": {"message": f"no fixture {name} for {self.path}"}}).encode())
            return
        self.server.seen.append((self.path, body))
        if name.endswith(".sse"):
            self.stream(path.read_bytes())
        else:
            self.reply(200, "application/json", path.read_bytes())

    def fixture(self, body: dict) -> str | None:
        path = self.path.split("?")[0]
        streamed = bool(body.get("stream")) or path.endswith(":streamGenerateContent")
        for base, files in FILES.items():
            if path.startswith(base):
                whole, whole_tools, stream, stream_tools = files
                if streamed:
                    return stream_tools if "tools" in body else stream
                return whole_tools if "tools" in body else whole
        return None

    def reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for start in range(0, len(body), PIECE):
            piece = body[start : start + PIECE]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_) -> None:
        pass


def start() -> tuple[http.server.ThreadingHTTPServer, str]:
    """Serves on a free loopback port from a thread that ends with the process; gives the server and its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"
