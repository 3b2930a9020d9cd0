"""The HTTP API: routes translate between HTTP and the services, one file per resource. No rules here."""
