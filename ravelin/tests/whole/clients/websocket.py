"""A WebSocket server and client of the library `websockets`, the proxy between them: python websocket.py PROXY SERVER. Exits with an
error if anything comes out otherwise than without a proxy."""

import faulthandler
import os
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve

PATIENCE = 60
faulthandler.dump_traceback_later(3 * PATIENCE, exit=True)
proxy, server_address = sys.argv[1:]
heard = []
ended = threading.Event()


def talk(connection):
    heard.append((connection.request.path, connection.request.headers["X-Forwarded-Proto"], connection.subprotocol))
    connection.send("welcome")
    try:
        for message in connection:
            if message == "close":
                connection.close(4001, "as asked")
            else:
                connection.send(message)
    except ConnectionClosed:
        pass
    heard.append((connection.close_code, connection.close_reason))
    ended.set()


host, port = server_address.split(":")
server = serve(talk, host, int(port), subprotocols=["chat.v1"], max_size=None)
threading.Thread(target=server.serve_forever, daemon=True).start()


def client():
    return connect(f"ws://{proxy}/room?x=1", subprotocols=["chat.v2", "chat.v1"], max_size=None, open_timeout=PATIENCE)


with client() as connection:
    assert connection.subprotocol == "chat.v1", connection.subprotocol
    assert connection.recv(PATIENCE) == "welcome", "the server speaks first"
    for message in ("grüße", b"\x00\xff", os.urandom(2 << 20), ""):
        connection.send(message)
        assert connection.recv(PATIENCE) == message
    connection.send(part for part in ("in ", "three ", "parts"))
    assert connection.recv(PATIENCE) == "in three parts"
    assert connection.ping().wait(PATIENCE), "the server's pong"
    connection.close(4002, "client's reason")
assert ended.wait(PATIENCE)
assert heard == [("/room?x=1", "ws", "chat.v1"), (4002, "client's reason")], heard

with client() as connection:
    connection.send("close")
    try:
        assert connection.recv(PATIENCE) == "welcome"
        connection.recv(PATIENCE)
        raise AssertionError("the server closes")
    except ConnectionClosed:
        assert (connection.close_code, connection.close_reason) == (4001, "as asked"), connection.close_code
server.shutdown()
print("WebSocket: all as without a proxy")
