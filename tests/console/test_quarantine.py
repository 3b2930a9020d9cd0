"""Quarantine in the console: the entries of the workspace, without the texts of their errors, and their retry."""

from api.conftest import Api
from console.signed_in_client import client_of
from dialer.domain.roles import Role
from dialer.store import quarantine

ROOT = "/console/system/quarantine"


def test_an_admin_retries_what_belongs_to_the_workspace(api: Api) -> None:
    world = api.world
    batch_id = world.batch(1)
    with world.db.begin() as connection:
        quarantine.note(connection, "batch", batch_id, ValueError("<script>postgres at 10.0.0.7</script>"))
    retry = f"{ROOT}/{world.value('SELECT id FROM quarantine')}/retry"
    with client_of(api, Role.ADMIN, api.workspace("other")) as stranger:
        assert "Nothing of this workspace is in quarantine" in stranger.text(ROOT)
        assert stranger.post(retry).status_code == 404
    with client_of(api) as admin:
        text = admin.text(ROOT)
        assert (f'/console/batches/{batch_id}">its batch</a>' in text, "10.0.0.7" in text) == (True, False)
        assert admin.post(retry).headers["Location"] == ROOT
        assert "Nothing of this workspace is in quarantine" in admin.text(ROOT)
