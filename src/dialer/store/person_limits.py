"""How many calls a person may get within a number of hours: the SQL that the claim and the permit share."""


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
