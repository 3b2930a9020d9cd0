"""`dialer batch`: its commands are in three files."""

from dialer.cli import batch, batch_drafts, batch_export

group = batch.group
for part in (batch_drafts.group, batch_export.group):
    group.add_typer(part)
