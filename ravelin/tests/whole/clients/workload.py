"""A Workload API of Google's gRPC with the messages of the SPIFFE project's library, and a server that takes only clients with a SPIFFE
identity: python workload.py PROXY SERVER AGENT. Exits with an error if the proxy asks the server as anybody else than it is told to be, or
asks one whom it must not take."""

import datetime
import faulthandler
import http.client
import http.server
import queue
import ssl
import sys
import tempfile
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from spiffe import X509Svid
from spiffe._proto import workload_pb2, workload_pb2_grpc

PATIENCE = 60
faulthandler.dump_traceback_later(3 * PATIENCE, exit=True)
proxy, server_address, agent_address = sys.argv[1:]
DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM


def sign(uri, authority=None):
    """A certificate with its key: of an authority of its own, or of a workload that one signs for."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, issuer_key = authority or (None, key)
    serial = x509.random_serial_number()
    # Authorities of one domain must not share a name: OpenSSL finds them by it.
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, str(serial))])
    is_ca = authority is None
    now = datetime.datetime.now(datetime.timezone.utc)
    usage = dict.fromkeys(("digital_signature", "key_cert_sign", "crl_sign"), False)
    usage.update({"key_cert_sign": True, "crl_sign": True} if is_ca else {"digital_signature": True})
    usage.update(dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False))
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage, encipher_only=False, decipher_only=False), critical=True)
    )
    return builder.sign(issuer_key, hashes.SHA256()), key


def key_bytes(key, encoding):
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def identity(uri, authority, authorities):
    """A message with this identity, as the library itself takes it."""
    certificate, key = sign(uri, authority)
    chain, secret = certificate.public_bytes(DER), key_bytes(key, DER)
    assert str(X509Svid.parse_raw(chain, secret).spiffe_id) == uri
    bundle = b"".join(each.public_bytes(DER) for each, _ in authorities)
    svid = workload_pb2.X509SVID(spiffe_id=uri, x509_svid=chain, x509_svid_key=secret, bundle=bundle)
    return workload_pb2.X509SVIDResponse(svids=[svid])


class Agent(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    def __init__(self):
        self.says = queue.Queue()

    def FetchX509SVID(self, request, context):
        if ("workload.spiffe.io", "true") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        ended = threading.Event()
        context.add_callback(lambda: (ended.set(), self.says.put(None)))
        while not ended.is_set():
            if message := self.says.get():
                yield message


class Page(http.server.BaseHTTPRequestHandler):
    """Says who asks; every request comes over a connection of its own."""

    def do_GET(self):
        names = [value for kind, value in self.connection.getpeercert()["subjectAltName"] if kind == "URI"]
        text = " ".join(names).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Handshakes that fail are told by the proxy's answers."""


def serve(certificate, key, authorities):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder, "pair.pem")
        pair.write_bytes(certificate.public_bytes(PEM) + key_bytes(key, PEM))
        context.load_cert_chain(pair)
    context.load_verify_locations(cadata=b"".join(each.public_bytes(DER) for each, _ in authorities))
    context.verify_mode = ssl.CERT_REQUIRED
    host, port = server_address.rsplit(":", 1)
    server = Server((host, int(port)), Page)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def asked(host):
    connection = http.client.HTTPConnection(proxy, timeout=PATIENCE)
    connection.request("GET", "/", headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def until(what, holds):
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < PATIENCE, what
        time.sleep(0.02)


old, new = sign("spiffe://a.test"), sign("spiffe://a.test")
serve(*sign("spiffe://a.test/web", old), [old, new])
assert asked("web.test")[0] == 502, "without an identity nobody is asked"

agent = Agent()
listener = grpc.server(futures.ThreadPoolExecutor(8))
workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(agent, listener)
assert listener.add_insecure_port(agent_address), "the agent's port"
listener.start()
try:
    agent.says.put(identity("spiffe://a.test/proxy", old, [old]))
    until("the first identity counts", lambda: asked("web.test") == (200, "spiffe://a.test/proxy"))
    assert asked("other.test")[0] == 502, "a server with another ID than those of the option is not asked"
    assert asked("usual.test")[0] == 502, "without the option the usual TLS knows no such authority"

    # The authority changes, as it does now and then: both count for a while.
    agent.says.put(identity("spiffe://a.test/renewed", new, [old, new]))
    until("the next identity counts", lambda: asked("web.test") == (200, "spiffe://a.test/renewed"))
    agent.says.put(identity("spiffe://a.test/last", new, [new]))
    until("a server of an authority that is gone is not taken", lambda: asked("web.test")[0] == 502)
    agent.says.put(identity("spiffe://a.test/proxy", new, [old, new]))
    until("and again once it is back", lambda: asked("web.test") == (200, "spiffe://a.test/proxy"))

    listener.stop(None).wait(PATIENCE)
    assert asked("web.test") == (200, "spiffe://a.test/proxy"), "what was given stays without the agent"
finally:
    listener.stop(None)
print("SPIFFE: who asks and who is asked are as told")
