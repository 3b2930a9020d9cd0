"""TLS for the fake networks, with a certificate that nobody vouches for but itself; its key lies with it. It is for
127.0.0.1, and for the carrier that `system/test_black_hole.py` runs in a network of its own.

Made by `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=a mock carrier"
-addext subjectAltName=IP:127.0.0.1,IP:10.213.6.2`.
"""

import ssl
from pathlib import Path

CERTIFICATE = Path(__file__).with_name("loopback.pem")
# For a process that is to trust it.
TRUSTING = {"SSL_CERT_FILE": str(CERTIFICATE)}


def with_tls() -> ssl.SSLContext:
    """A server's side of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context
