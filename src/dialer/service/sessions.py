"""Sessions of the console: sign in with an API key, find the session of a request, sign out.

The browser keeps a random secret, the database only its hash. A session ends when it expires, when its user signs out,
and at once when its key is revoked.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from pendulum import Duration

from dialer.domain.roles import Role
from dialer.errors import NotAllowed, NotAuthenticated
from dialer.service import keys
from dialer.service.keys import Identity
from dialer.store import sessions
from dialer.store.database import Database

LIFETIME = Duration(hours=12)


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in user of the console."""

    hash: bytes  #: By which the session is stored.
    identity: Identity
    key_name: str
    form_token: str  #: Each form sends it back; a page of another site cannot know it.

    def check_form_token(self, token: str) -> None:
        """Check the token that came with a form.

        Args:
            token: what the form contained.

        Raises:
            NotAllowed: it is not the token of this session.
        """
        if not hmac.compare_digest(token.encode(), self.form_token.encode()):
            raise NotAllowed("This form belongs to another session; load the page again and repeat the action")


def sign_in(db: Database, key: str) -> str:
    """Exchange an API key for a session.

    Args:
        db: the database.
        key: the key as the user typed it.

    Returns:
        The secret of the session, for the browser. It cannot be read again.

    Raises:
        NotAuthenticated: the key is malformed, unknown or revoked.
    """
    identity = keys.authenticate(db, key)
    secret = secrets.token_urlsafe(32)
    with db.begin() as connection:
        sessions.insert(connection, _hash(secret), identity.key_id, LIFETIME)
    return secret


def find(db: Database, secret: str) -> Session:
    """Find the session of a request.

    Args:
        db: the database.
        secret: what the browser sent; empty: nothing.

    Returns:
        The session.

    Raises:
        NotAuthenticated: there is no such session, it has expired, or its key was revoked.
    """
    if not secret:
        raise NotAuthenticated("Sign in with an API key")
    with db.begin() as connection:
        row = sessions.find_live(connection, _hash(secret))
    if row is None:
        raise NotAuthenticated("The session has ended; sign in again")
    identity = Identity(row.id, row.workspace_id, row.workspace, Role(row.role))
    form_token = hmac.new(secret.encode(), b"form", hashlib.sha256).hexdigest()
    return Session(_hash(secret), identity, row.key_name, form_token)


def live_among(db: Database, hashes: Collection[bytes]) -> set[bytes]:
    """Find out which sessions go on.

    Args:
        db: the database.
        hashes: the hashes of the sessions.

    Returns:
        The hashes of those that have not ended.
    """
    with db.begin() as connection:
        return sessions.live_among(connection, hashes)


def sign_out(db: Database, secret: str) -> None:
    """End a session. Calling this twice is safe.

    Args:
        db: the database.
        secret: the secret of the session.
    """
    with db.begin() as connection:
        sessions.delete(connection, _hash(secret))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
