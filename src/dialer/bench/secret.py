"""The secret of the HTTP platform whose reports are measured. The engine's processes read it from their environment."""

from base64 import b64encode

VARIABLE = "TRUNK_BENCH_SECRET"
SECRET = f"whsec_{b64encode(bytes(32)).decode()}"
