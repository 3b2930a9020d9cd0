"""Who is signed in to the console: the session of the cookie, checked in the database at every request, and its role.

A request that changes something must come from one of our own pages: its `Origin` must be this host, and it must carry
the token of the session, in the field `form_token` of a form or in the header `X-Form-Token`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request

from dialer.api.auth import Caller, attributed, check_rate_limit
from dialer.api.body import json_limits, read_whole
from dialer.api.request_context import current_request
from dialer.domain.change_origin import ChangeSource
from dialer.domain.roles import Role
from dialer.errors import NotAllowed, UnreadableBody
from dialer.service import sessions
from dialer.service.sessions import Session

COOKIE = "dialer_session"
FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 2_000


@dataclass(frozen=True, slots=True)
class Visitor:
    """The signed-in user of a request."""

    caller: Caller
    session: Session

    def may(self, role: str) -> bool:
        """Return whether the user may do what this role may do."""
        return self.caller.role.suffices_for(Role(role))


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form: each name with all its values, in their order."""

    fields: Mapping[str, list[str]]

    def __getitem__(self, name: str) -> str:
        """Return the first value of a field; empty where there is none."""
        return self.fields.get(name, [""])[0].strip()

    def all(self, name: str) -> list[str]:
        """Return the values of a field that are not empty."""
        return [value for value in self.fields.get(name, []) if value]


async def _read_form(request: Request) -> Form:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return Form({})
    fields: dict[str, list[str]] = {}
    try:
        for name, value in parse_qsl(
            (await read_whole(request, json_limits(request.app.state.settings))).decode(),
            True,
            max_num_fields=MAX_FIELDS,
        ):
            fields.setdefault(name, []).append(value)
    except ValueError:
        raise UnreadableBody.of("body", "is no form in UTF-8") from None
    return Form(fields)


SentForm = Annotated[Form, Depends(_read_form)]


def check_origin(request: Request) -> None:
    """Raise NotAllowed unless the request comes from a page of this host."""
    public_url = request.app.state.settings.public_url
    ours = {request.headers.get("host", ""), urlsplit(public_url or "").netloc} - {""}
    if urlsplit(request.headers.get("origin", "")).netloc not in ours:
        raise NotAllowed("This request comes from another site; open the console itself and repeat the action")


def _requires(wanted: Role, *, acts: bool = False) -> Callable[..., Visitor]:
    def signed_in(request: Request) -> Visitor:
        state = request.app.state
        session = sessions.find(state.context.db, request.cookies.get(COOKIE, ""))
        identity = session.identity
        check_rate_limit(state, identity.key_id)
        caller = Caller(
            context=state.read_context
            if request.method == "GET"
            else attributed(state.context, ChangeSource.CONSOLE, identity),
            settings=state.settings,
            workspace_id=identity.workspace_id,
            workspace=identity.workspace,
            key_id=identity.key_id,
            role=identity.role,
            now=current_request().now,
            rng=state.rng,
        )
        visitor = Visitor(caller, session)
        # For the frame of an error page.
        request.state.visitor = visitor
        if not identity.role.suffices_for(wanted):
            raise NotAllowed(f"This needs the role {wanted}; you are signed in as {identity.role}")
        return visitor

    def acting(request: Request, form: SentForm) -> Visitor:
        check_origin(request)
        visitor = signed_in(request)
        visitor.session.check_form_token(form["form_token"] or request.headers.get("x-form-token", ""))
        return visitor

    return acting if acts else signed_in


SignedIn = Annotated[Visitor, Depends(_requires(Role.VIEWER))]
SignedInOperator = Annotated[Visitor, Depends(_requires(Role.OPERATOR))]
SignedInAdmin = Annotated[Visitor, Depends(_requires(Role.ADMIN))]
Leaving = Annotated[Visitor, Depends(_requires(Role.VIEWER, acts=True))]
Acting = Annotated[Visitor, Depends(_requires(Role.OPERATOR, acts=True))]
Managing = Annotated[Visitor, Depends(_requires(Role.ADMIN, acts=True))]
