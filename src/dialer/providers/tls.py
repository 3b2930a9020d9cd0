"""Whom a connection trusts."""

import ssl

import httpx2


def trust(*urls: str | None) -> ssl.SSLContext:
    """Trust what this system trusts, where any of these URLs wants TLS. SSL_CERT_FILE names other authorities.

    To read them all takes longer than most requests: where there is no TLS, one that trusts nobody will do.
    """
    if any(url and url.startswith(("https:", "wss:")) for url in urls):
        return httpx2.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
