"""Whom connections trust: the system's authorities where there is TLS, nobody where there is none."""

import ssl

import pytest

from dialer.providers.http_client import trust


@pytest.mark.parametrize("urls", [("https://x",), ("wss://x",), ("http://x", None, "https://y")])
def test_a_connection_with_tls_trusts_the_authorities_of_this_system(urls: tuple[str | None, ...]) -> None:
    context = trust(*urls)
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert context.cert_store_stats()["x509_ca"] > 10


@pytest.mark.parametrize("urls", [(), (None,), ("http://x", "ws://https")])
def test_without_tls_nobody_is_trusted(urls: tuple[str | None, ...]) -> None:
    context = trust(*urls)
    assert (context.verify_mode, context.cert_store_stats()["x509_ca"]) == (ssl.CERT_REQUIRED, 0)
