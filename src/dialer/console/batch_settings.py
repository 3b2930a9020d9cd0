"""The settings of a batch that is not over: what a change would do, the change itself, its history, and undo."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from dialer.console import setting_words
from dialer.console.fields import wrong_fields
from dialer.console.page import HEADERS, PageRoute, page
from dialer.console.settings_form import choices, form_of, settings_of, week
from dialer.console.visitor import Acting, Form, SentForm, SignedIn, SignedInOperator, Visitor
from dialer.domain.ids import BatchId
from dialer.domain.states import FINAL_BATCH
from dialer.errors import DialerError, InvalidInput, SettingsChanged, StateConflict
from dialer.service import batch_history, batch_settings, batch_views
from dialer.service.batch_settings import ChangedSettings, PlannedChange, Undo

router = APIRouter(prefix="/console/batches/{batch_id}", include_in_schema=False, route_class=PageRoute)

PAGE = 50


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the page says about a change. `changes`: as JSON, for the request that makes it."""

    planned: PlannedChange | None = None
    changes: str = "{}"
    error: DialerError | None = None


@router.get("/settings")
def show_settings(request: Request, visitor: SignedInOperator, batch_id: BatchId) -> Response:
    batch = _batch(visitor, batch_id)
    return _settings_page(request, visitor, batch, form_of(batch), _Answer())


@router.post("/settings")
def change_settings(request: Request, visitor: Acting, batch_id: BatchId, form: SentForm) -> Response:
    """Say what the changed fields would do, or apply what was shown, unless the batch has changed since."""
    caller = visitor.caller
    stale: SettingsChanged | None = None
    try:
        changes = _changes(form)
        changed = ChangedSettings.read({**changes, "reason": form["reason"] or None}, caller.now)
        if form["if_match"]:
            try:
                batch_settings.change(caller.db, caller.workspace_id, batch_id, changed, caller.now, form["if_match"])
            except SettingsChanged as error:
                stale = error
            else:
                return RedirectResponse(f"/console/batches/{batch_id}", 303, HEADERS)
        planned = batch_settings.plan(caller.db, caller.workspace_id, batch_id, changed, caller.now)
        answer = _Answer(planned, json.dumps(changes), stale)
    except (InvalidInput, StateConflict) as error:
        answer = _Answer(error=error)
    batch = _batch(visitor, batch_id)
    # The form of an applied change has only what is to be changed.
    return _settings_page(request, visitor, batch, form if form["timezone"] else form_of(batch), answer)


@router.get("/history")
def show_history(
    request: Request,
    visitor: SignedIn,
    batch_id: BatchId,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    return _history_page(request, visitor, batch_id, offset)


@router.post("/settings/undo")
def undo_settings(request: Request, visitor: Acting, batch_id: BatchId, form: SentForm) -> Response:
    """Take back the latest change of settings, unless the batch has changed since the page was shown."""
    caller = visitor.caller
    try:
        how = Undo.read({"reason": form["reason"] or None, "if_match": form["if_match"] or None}, caller.now)
        batch_settings.undo(caller.db, caller.workspace_id, batch_id, how, caller.now)
    except (InvalidInput, StateConflict, SettingsChanged) as error:
        return _history_page(request, visitor, batch_id, 0, error)
    return RedirectResponse(f"/console/batches/{batch_id}/history", 303, HEADERS)


def _history_page(
    request: Request, visitor: Visitor, batch_id: BatchId, offset: int, error: DialerError | None = None
) -> Response:
    caller = visitor.caller
    batch = _batch(visitor, batch_id)
    changes, total = batch_history.list_page(caller.db, caller.workspace_id, batch_id, limit=PAGE, offset=offset)
    return page(
        request,
        "history.html",
        visitor,
        status=422 if error else 200,
        batch=batch,
        changes=changes,
        total=total,
        offset=offset,
        limit=PAGE,
        settings=setting_words,
        numbers=choices(visitor, batch["phone_number_ids"]).numbers,
        if_match=batch_settings.token(batch_id, batch["version"]),
        error=error,
        is_stale=isinstance(error, SettingsChanged),
        may_undo=visitor.may("operator") and batch["status"] not in FINAL_BATCH,
    )


def _batch(visitor: Visitor, batch_id: BatchId) -> dict[str, Any]:
    caller = visitor.caller
    return batch_views.show(caller.db, caller.workspace_id, batch_id, caller.now)


def _changes(form: Form) -> dict[str, Any]:
    """Return the settings to be changed: as they were shown, or the fields of the form that differ from before.

    Fields that somebody else has changed since the form was shown are therefore not changed back.
    """
    if form["changes"]:
        return _object(form, "changes")
    before = _object(form, "before")
    return {name: value for name, value in settings_of(form).items() if value != before.get(name)}


def _object(form: Form, name: str) -> dict[str, Any]:
    try:
        value = json.loads(form[name])
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidInput.of(name, "is not what this page has sent; load it again")
    return value


def _settings_page(
    request: Request, visitor: Visitor, batch: Mapping[str, Any], form: Form, answer: _Answer
) -> Response:
    error = answer.error
    return page(
        request,
        "edit_settings.html",
        visitor,
        status=422 if error else 200,
        batch=batch,
        form=form,
        before=form["before"] or json.dumps(settings_of(form_of(batch))),
        answer=answer,
        error=error,
        wrong=wrong_fields(error),
        week=week(form, visitor.caller.now),
        settings=setting_words,
        choices=choices(visitor, batch["phone_number_ids"]),
        is_over=batch["status"] in FINAL_BATCH,
    )
