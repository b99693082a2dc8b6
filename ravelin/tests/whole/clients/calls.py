"""Calls a gRPC server of Google's library through the proxy by its client: python calls.py PROXY SERVER. Exits with an error if
anything comes out otherwise than without a proxy, or if the health checks do not notice what the server says of itself."""

import base64
import faulthandler
import http.client
import os
import sys
import threading
import time
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

PATIENCE = 60
faulthandler.dump_traceback_later(3 * PATIENCE, exit=True)
proxy, server_address = sys.argv[1:]
entered, left = threading.Event(), threading.Event()


def unary(request, context):
    if request == b"missing":
        context.set_trailing_metadata((("reason", "none"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ä")
    context.send_initial_metadata((("seen-by", "server"),))
    context.set_trailing_metadata((("sum", str(len(request))), ("raw-bin", b"\x00\xff")))
    return request + dict(context.invocation_metadata()).get("mark", "").encode()


def wait(request, context):
    context.add_callback(left.set)
    entered.set()
    left.wait(PATIENCE)
    return b""


def count(request, context):
    yield from (str(number).encode() for number in range(int(request)))


def talk(requests, context):
    yield from (request.upper() for request in requests)


def until(what, holds):
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < PATIENCE, what
        time.sleep(0.02)


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def by_page(content_type, body):
    connection = http.client.HTTPConnection(proxy, timeout=PATIENCE)
    fields = {"Host": "page.test", "Content-Type": content_type, "Origin": "http://page.test"}
    connection.request("POST", "/t.Echo/Unary", body, fields)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200 and answer.headers["Access-Control-Allow-Origin"] == "http://page.test", answer.headers
    return answer.headers["Content-Type"], content


server = grpc.server(futures.ThreadPoolExecutor(8))
methods = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Talk": grpc.stream_stream_rpc_method_handler(talk),
}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Echo", methods),))
state = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(state, server)
state.set("", health_pb2.HealthCheckResponse.SERVING)
assert server.add_insecure_port(server_address), "the server's port"
server.start()

channel = grpc.insecure_channel(proxy)
echo = channel.unary_unary("/t.Echo/Unary")
until("the server is up", lambda: code_of(lambda: echo(b"x", timeout=PATIENCE)) == grpc.StatusCode.OK)

answer, call = echo.with_call(b"hello", metadata=(("mark", "!"),), timeout=PATIENCE)
assert answer == b"hello!", answer
assert dict(call.initial_metadata())["seen-by"] == "server", call.initial_metadata()
trailing = dict(call.trailing_metadata())
assert trailing["sum"] == "5" and trailing["raw-bin"] == b"\x00\xff", trailing

try:
    echo(b"missing", timeout=PATIENCE)
    raise AssertionError("an error was expected")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.NOT_FOUND and error.details() == "no such thing: ä", error
    assert dict(error.trailing_metadata())["reason"] == "none", error.trailing_metadata()

large = os.urandom(3 << 20)
assert echo(large, timeout=PATIENCE) == large
numbers = channel.unary_stream("/t.Echo/Count")(b"1000", timeout=PATIENCE)
assert list(numbers) == [str(number).encode() for number in range(1000)]

# Each message is sent once the answer to the one before has come.
answered = threading.Semaphore()


def messages():
    for word in (b"one", b"two", b"three"):
        assert answered.acquire(timeout=PATIENCE), word
        yield word


said = []
for reply in channel.stream_stream("/t.Echo/Talk")(messages(), timeout=PATIENCE):
    said.append(reply)
    answered.release()
assert said == [b"ONE", b"TWO", b"THREE"], said

waiting = channel.unary_unary("/t.Echo/Wait").future(b"", timeout=PATIENCE)
assert entered.wait(PATIENCE)
waiting.cancel()
assert left.wait(PATIENCE), "the server hears that its client has left"

# A page's call, in bytes and in base64. The message: a byte, its length, and itself.
message = b"\0\0\0\0\x02hi"
kind, content = by_page("application/grpc-web+proto", message)
assert kind.startswith("application/grpc-web") and content.startswith(message + b"\x80"), (kind, content)
assert b"grpc-status: 0\r\n" in content and b"sum: 2\r\n" in content, content
kind, content = by_page("application/grpc-web-text", base64.b64encode(message))
assert kind.startswith("application/grpc-web-text"), kind
parts = content.replace(b"=", b"= ").replace(b"= = ", b"== ").split()
assert b"".join(map(base64.b64decode, parts)).startswith(message + b"\x80"), content

for status, code in (
    (health_pb2.HealthCheckResponse.NOT_SERVING, grpc.StatusCode.UNAVAILABLE),
    (health_pb2.HealthCheckResponse.SERVING, grpc.StatusCode.OK),
):
    state.set("", status)
    until(f"checks find {code}", lambda: code_of(lambda: echo(b"x", timeout=PATIENCE)) == code)
channel.close()
server.stop(None).wait(PATIENCE)
print("gRPC: all as without a proxy")
