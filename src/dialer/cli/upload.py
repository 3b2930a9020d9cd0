"""Uploads a CSV file to the API, with a progress bar on a terminal, and prints what became of its rows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import httpx2
import typer

from dialer.cli.client import TRIES, Client, body_of, connected
from dialer.cli.contact_file import open_contact_file, row_report, with_progress_bar
from dialer.domain.import_result import ImportResult, RejectedRow

CHUNK_BYTES = 256 * 1024
# The response comes after all rows are stored.
TIMEOUT = httpx2.Timeout(60, read=600)


def upload(path: str, file: Path, data_dir: Path | None, *, as_json: bool) -> None:
    """Stream the file to an endpoint; memory stays flat. A stream that cannot be read twice is sent only once."""
    with open_contact_file(file) as stream, connected(data_dir) as client, with_progress_bar(stream) as body:
        response = client.with_retries(lambda: _send(client, path, body), tries=TRIES if body.seekable() else 1)
    data = body_of(response)["data"]
    errors = tuple(RejectedRow(**error) for error in data["errors"])
    typer.echo(json.dumps(data) if as_json else row_report(ImportResult(**data | {"errors": errors})))


def _send(client: Client, path: str, stream: BinaryIO) -> httpx2.Response:
    if stream.seekable():
        stream.seek(0)
    headers = {"Content-Type": "text/csv"}
    return client.http.post(path, content=_chunks(stream), headers=headers, timeout=TIMEOUT)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk
