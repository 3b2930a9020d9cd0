"""Text of lists and of operators is text on every page, whatever it contains."""

from uuid import uuid4

from api.conftest import Api
from console.signed_in_client import SignedInClient, client_of, flat
from console.test_sessions import ORIGIN
from dialer.console.contact_list import MAX_PREVIEW_BYTES
from dialer.domain.ids import TrunkId
from dialer.store import quarantine, trunk_listeners
from support.world import World

HOSTILE = """<script>alert("1")</script><img src=x onerror='alert(1)'>"""
ROOT = "/console/system"
COLUMNS = ",".join(["phone", *(f"v{n}" for n in range(100))])
# What a file contains -> what its preview says.
FILES = {
    "\ufeffphone;name\n+12025550101;Ada\n".encode(): "+12025550101",
    "phone;name\n+12025550101;Ada\n".encode("utf-16"): "it is UTF-16, not UTF-8; save it as UTF-8",
    b'phone;name\n+12025550101;"Ada; ""the first"""\n': "Ada; &#34;the first&#34;",
    f"{COLUMNS}\n+12025550101{',x' * 100}\n".encode(): "and 90 other variables",
    (b"phone,name\n+12025550101," + b"x" * 1_000_000)[:MAX_PREVIEW_BYTES]: "Its first row is too long to be shown here",
    b"phone,name\n": "The file has a header and no rows",
    b"PK\x03\x04" + bytes(999): "it is a workbook or a zip archive, not CSV",
    b"phone\n\0\n": "line 2 has a NUL character",
    b"": "it is empty",
}


def test_hostile_text_is_shown_as_text_on_every_page(api: Api, world: World) -> None:
    batch_id = world.batch(2, name=HOSTILE)
    world.sql(
        """
        UPDATE contacts SET name = v.text, external_id = v.text, variables = jsonb_build_object(v.text, v.text)
        FROM (SELECT CAST(:text AS text) AS text) AS v
        """,
        text=HOSTILE,
    )
    world.sql("UPDATE agents SET name = :text", text=HOSTILE)
    world.sql("UPDATE trunks SET name = :text", text=HOSTILE)
    world.run(lambda: world.is_over(batch_id))
    world.batch(1, name=HOSTILE)
    world.sql("UPDATE attempts SET cause = :text", text=HOSTILE)
    contact_id = world.value("SELECT id FROM contacts WHERE batch_id = :id LIMIT 1", id=batch_id)
    with world.db.begin() as connection:
        quarantine.note(connection, "batch", batch_id, ValueError(HOSTILE))
        trunk_listeners.down(connection, TrunkId(world.installed.trunk_id), uuid4(), HOSTILE)
    with client_of(api) as admin:
        admin.post(f"{ROOT}/suppressions/new", phone_number="+12025550199", reason=HOSTILE)
        admin.post(f"{ROOT}/webhooks/new", url="https://example.com/", events=["call.ended"], description=HOSTILE)
        endpoint_id = world.value("SELECT id FROM webhook_endpoints")
        world.sql(
            "UPDATE webhook_health SET failures = 9, last_error = :text, failing_since = dialer_now()", text=HOSTILE
        )
        pages = [
            "/console",
            "/console?wall=1",
            f"/console/batches/{batch_id}",
            f"/console/batches/{batch_id}/figures",
            f"/console/batches/{batch_id}/contacts",
            f"/console/batches/{batch_id}/contacts/{contact_id}",
            "/console/batches/new",
            "/console/all/delete",
            ROOT,
            f"{ROOT}/agents",
            f"{ROOT}/agents/{world.installed.agent_id}",
            f"{ROOT}/trunks",
            f"{ROOT}/trunks/{world.installed.trunk_id}",
            f"{ROOT}/suppressions",
            f"{ROOT}/webhooks",
            f"{ROOT}/webhooks/{endpoint_id}",
        ]
        for address in pages:
            check(admin, address, has_text=not address.endswith("/figures"))
        admin.post(f"{ROOT}/keys", name=HOSTILE, role="viewer")
        check(admin, f"{ROOT}/keys", has_text=True)
        for address, name in (("/console", "search"), (f"{ROOT}/agents", "search"), (f"{ROOT}/agents", "after")):
            check(admin, address, has_text=name == "search", **{name: HOSTILE})
        check(admin, "/console/all/pause", has_text=True, search=HOSTILE)
        check(admin, f"/console/batches/{batch_id}/contacts", has_text=True, external_id=HOSTILE)


def check(admin: SignedInClient, address: str, *, has_text: bool, **params: str) -> None:
    answer = admin.get(address, **params)
    assert answer.status_code == 200, (address, answer.text)
    assert ("&lt;script&gt;" in answer.text) >= has_text, address
    for harm in ("<script>", "<img", 'alert("'):
        assert harm not in answer.text, address


def test_a_hostile_page_address_is_quoted(api: Api) -> None:
    with client_of(api) as admin:
        answer = admin.get("/console/" + HOSTILE)
        assert answer.status_code == 404
        assert "<script>" not in answer.text
        refused = admin.post("/console/system/agents/new", name=HOSTILE, connection="{", status=HOSTILE)
        assert refused.status_code == 422
        assert "<script>" not in refused.text
        assert "&lt;script&gt;" in refused.text


def test_a_file_is_previewed_or_says_why_not(api: Api, world: World) -> None:
    path = f"/console/batches/{world.batch(0, start=False)}/list/preview"
    with client_of(api) as admin:
        headers = ORIGIN | {"X-Form-Token": admin.token, "Content-Type": "text/csv"}
        for content, text in FILES.items():
            answer = admin.http.post(path, content=content, headers=headers)
            assert text in flat(answer.text), (content[:30], answer.text)
            assert answer.status_code == (422 if "Nothing of this file was loaded" in answer.text else 200)
