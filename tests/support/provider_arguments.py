"""Arguments for calls to a provider, besides the request."""

from dialer.providers.base import CallHandle, CallRequest


def call_handle(request: CallRequest, provider_call_id: str | None = None) -> CallHandle:
    """Return the handle that the engine has of the call of this request."""
    created_at = request.place_by.subtract(seconds=15)
    return CallHandle(request.attempt_id, request.to_number, request.from_number, created_at, provider_call_id)


async def ignore_link_state(_: str | None) -> None:
    """Ignore the state of the connection."""
