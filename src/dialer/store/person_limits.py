"""Whether a person may be called: the SQL that the claim, the permit and explain share."""

from dialer.store.attempts import LIVE


def free_at(limits: str, workspace: str, number: str, at: str) -> str:
    """Return SQL for the moment at which a person's limits allow the next call; NULL: they allow it at `at`.

    All arguments are SQL. `limits`: JSON, [{"attempts", "hours"}]. Attempts that are over are counted, without refused
    ones: as long as one is live, the person is in a call. Where there are no limits nothing is read.
    """
    return f"""
    (SELECT max(nth.created_at + l.hours * interval '1 hour')
     FROM jsonb_to_recordset({limits}) AS l (attempts integer, hours integer)
     CROSS JOIN LATERAL (
         SELECT created_at FROM attempts p
         WHERE p.workspace_id = {workspace} AND p.to_number = {number} AND p.state = 'ended'
         ORDER BY created_at DESC OFFSET l.attempts - 1 LIMIT 1) AS nth
     WHERE nth.created_at + l.hours * interval '1 hour' > {at})
    """


def live_call(workspace: str, number: str) -> str:
    """Return SQL for whether a person is in a call of this workspace: true or NULL. Both arguments are SQL.

    Not EXISTS, for which Postgres may read all live attempts.
    """
    return f"""
    (SELECT true FROM attempts l WHERE l.workspace_id = {workspace} AND l.to_number = {number} AND l.state IN {LIVE})
    """
