"""Server-sent events read by the library `sseclient-py` through the proxy: python events.py PROXY SERVER. Each event is sent once the
one before was received, so that nothing on the way may hold any back."""

import faulthandler
import http.server
import sys
import threading
import urllib.request

import sseclient

PATIENCE = 60
faulthandler.dump_traceback_later(3 * PATIENCE, exit=True)
proxy, server_address = sys.argv[1:]
EVENTS = 5
received = threading.Semaphore(0)
left = threading.Event()
last = []


class Events(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        last.append(self.headers["Last-Event-ID"])
        chunked = self.path == "/chunked"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")))
        self.end_headers()
        try:
            for number in range(EVENTS):
                self.event(chunked, f"id: {number}\nevent: tick\ndata: line {number}\ndata: ü\n\n".encode())
                assert received.acquire(timeout=PATIENCE), "the event is held back"
            while True:
                self.event(chunked, b": still here\n\n")
        except OSError:
            left.set()
        self.close_connection = True

    def event(self, chunked, text):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text) if chunked else text)
        self.wfile.flush()

    def log_message(self, *_):
        pass


host, port = server_address.split(":")
server = http.server.ThreadingHTTPServer((host, int(port)), Events)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()

for path in ("/chunked", "/until-closed"):
    left.clear()
    request = urllib.request.Request(f"http://{proxy}{path}", headers={"Last-Event-ID": "7"})
    response = urllib.request.urlopen(request, timeout=PATIENCE)
    events = sseclient.SSEClient(response).events()
    for number in range(EVENTS):
        event = next(events)
        assert (event.id, event.event, event.data) == (str(number), "tick", f"line {number}\nü"), vars(event)
        received.release()
    response.close()
    assert left.wait(PATIENCE), "the server hears that its client has left"
assert last == ["7", "7"], last
print("server-sent events: all as without a proxy")
