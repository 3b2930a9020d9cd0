"""Sends a CSV file to the API, with a progress bar on a terminal, and prints what became of its rows."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import httpx2
import typer

from dialer.cli.client import TRIES, Client, connected
from dialer.cli.results import row_report
from dialer.cli.run_batch import opened_file, shown
from dialer.service.contact_csv import RowError
from dialer.service.contacts import ImportReport

PIECE_BYTES = 256 * 1024
# The rows are stored when the last one has come.
TIMEOUT = httpx2.Timeout(60, read=600)


def upload(path: str, file: Path, data_dir: Path | None, *, as_json: bool) -> None:
    """Send the file as it is read; memory stays flat."""
    with opened_file(file) as stream, connected(data_dir) as client, shown(stream) as read:
        answer = client.patiently(partial(_send, client, path, read), tries=TRIES if read.seekable() else 1)
    data = answer.json()["data"]
    errors = tuple(RowError(**error) for error in data["errors"])
    typer.echo(json.dumps(data) if as_json else row_report(ImportReport(**data | {"errors": errors})))


def _send(client: Client, path: str, stream: BinaryIO) -> httpx2.Response:
    if stream.seekable():
        stream.seek(0)
    headers = {"Content-Type": "text/csv"}
    return client.http.post(path, content=_pieces(stream), headers=headers, timeout=TIMEOUT)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(PIECE_BYTES):
        yield piece
