"""The HTTP API: routes translate between HTTP and the services, one file a resource; nothing is decided here."""
