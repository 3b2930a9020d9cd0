"""How a call ended, and what a refused placement is due to."""

from enum import StrEnum


class Outcome(StrEnum):
    """How the call of an ended attempt ended. Reported by the provider, except `unknown`; drives the retry rules."""

    ANSWERED = "answered"  #: A person answered, or the network does not tell people from machines.
    MACHINE = "machine"  #: A voice mailbox or another machine answered; only where the provider detects machines.
    BUSY = "busy"  #: The person was on the phone. Retried by default after 10 minutes.
    NO_ANSWER = "no_answer"  #: It rang until the ring timeout, or the phone could not be reached.
    REJECTED = "rejected"  #: The person, or a service for them, declined the call.
    INVALID_NUMBER = "invalid_number"  #: Nobody has this number. Never retried.
    FAILED = "failed"  #: The network could not complete the call.
    CANCELLED = "cancelled"  #: Dialer or an operator ended the call before it was answered. Never retried.
    ANSWERED_NO_AGENT = "answered_no_agent"  #: A person answered, and no agent joined. Never retried.
    UNKNOWN = "unknown"  #: Set by rescue: the call is over, and how is not known. Never retried (P1).


class CauseClass(StrEnum):
    """What a refused placement is due to. Set by the provider; decides what happens to the contact and the trunk."""

    CONTACT = "contact"  #: This number cannot be called. The contact fails.
    INFRASTRUCTURE = "infrastructure"  #: The trunk fails. Called again later; counted by the trunk's breaker.
    POLICY = "policy"  #: Our own rule stopped the call, for example a pause. The contact is called again later.
    RATE = "rate"  #: The network takes fewer calls a second. No failure: the contact is called again when it allows.
    AGENT = "agent"  #: An answered call would have no destination. The agent is held on the trunk; called again later.


class RefusalCause(StrEnum):
    """Why a call surely was not placed, where Dialer knows it: one word per fact, the same for every provider.

    Stored causes may be other text: a network's own word (a hang-up cause, an error code, an HTTP platform's `cause`),
    and words of earlier releases. Code that reads a stored cause must accept any text.
    """

    # The contact's number.
    INVALID_NUMBER = "invalid_number"  #: The number cannot be dialled.
    TO_NUMBER_NOT_VERIFIED = "to_number_not_verified"  #: A trial account calls verified numbers only.
    DESTINATION_NOT_PERMITTED = "destination_not_permitted"  #: The account may not call this country or number range.
    PREMIUM_NUMBER = "premium_number"  #: The network does not call premium-rate numbers for this account.
    BLOCKED_BY_TWILIO = "blocked_by_twilio"  #: Twilio has blocked the number.
    LEGAL_REASONS = "legal_reasons"  #: HTTP 451: the law forbids this call.
    # Our number.
    INVALID_CALLER_ID = "invalid_caller_id"  #: The outbound number cannot be written as the trunk's `caller_id` wants.
    FROM_NUMBER_NOT_OWNED = "from_number_not_owned"  #: The outbound number does not belong to the account.
    # The agent.
    AGENT_NOT_PERMITTED = "agent_not_permitted"  #: The trunk does not permit the agent's connection.
    AGENT_HAS_NO_URL = "agent_has_no_url"  #: The agent's connection for Twilio has neither `url` nor `twiml`.
    AGENT_URL_INVALID = "agent_url_invalid"  #: Twilio cannot use the URL in the agent's connection.
    STASIS_APP_NOT_CONNECTED = "stasis_app_not_connected"  #: The agent's Stasis application is not connected.
    # The way to the network.
    NO_PUBLIC_URL = "no_public_url"  #: DIALER_PUBLIC_URL is not set, so the network could not report to us.
    NETWORK_UNREACHABLE = "network_unreachable"  #: No connection: unknown host, refused address, nothing listens.
    TIMED_OUT = "timed_out"  #: No connection in time; nothing was sent.
    TLS_FAILED = "tls_failed"  #: No TLS connection, or its certificate is not trusted.
    PROTOCOL_ERROR = "protocol_error"  #: The other side does not speak the expected protocol.
    WRONG_URL = "wrong_url"  #: The API is not at this URL.
    REDIRECTED = "redirects_are_not_followed"  #: The network answered with a redirect.
    # Our account there.
    WRONG_CREDENTIALS = "wrong_credentials"  #: The user name, password, token or signature is not accepted.
    PERMISSION_DENIED = "permission_denied"  #: The credentials are right, and may not place calls.
    ACCOUNT_NOT_ACTIVE = "account_not_active"  #: The account is suspended or closed.
    PAYMENT_REQUIRED = "payment_required"  #: HTTP 402: the account has no credit.
    CONCURRENCY_LIMIT = "concurrency_limit"  #: The account has as many calls in progress as it may.
    RATE_LIMITED = "rate_limited"  #: More calls per second than the network takes.
    CALL_QUEUE_FULL = "call_queue_full"  #: Twilio's queue of calls is full.
    # What was asked.
    BAD_REQUEST = "bad_request"  #: The platform cannot read the request.
    REQUEST_TOO_LARGE = "request_too_large"  #: HTTP 413.
    TOO_EARLY = "too_early"  #: HTTP 425.
    COMMAND_REFUSED = "command_refused"  #: FreeSWITCH does not take the originate command.
    TOO_LATE = "too_late"  #: The request did not leave in time: the window ended, or the attempt was given up.
    # The switch.
    ALLOCATION_FAILED = "allocation_failed"  #: Asterisk could not make a channel.
    NOT_BOOTED = "not_booted"  #: Asterisk is still starting.
    SERVER_ERROR = "server_error"  #: The simulated network fails, as its `faults` say.

    @property
    def remedy(self) -> str:
        """What an operator should do about it."""
        return _REMEDIES[self]


_REMEDIES = {
    RefusalCause.INVALID_NUMBER: "Correct the number in the contact list.",
    RefusalCause.TO_NUMBER_NOT_VERIFIED: "Verify the number with Twilio, or upgrade the trial account.",
    RefusalCause.DESTINATION_NOT_PERMITTED: "Permit the country in Twilio's voice geographic permissions.",
    RefusalCause.PREMIUM_NUMBER: "Remove the number from the list, or call it over another trunk.",
    RefusalCause.BLOCKED_BY_TWILIO: "Ask Twilio why the number is blocked, or remove it from the list.",
    RefusalCause.LEGAL_REASONS: "Remove the number from the list; ask the platform for its reason.",
    RefusalCause.INVALID_CALLER_ID: "Write the outbound number in E.164, or change the trunk's `caller_id`.",
    RefusalCause.FROM_NUMBER_NOT_OWNED: "Buy or verify the outbound number in the trunk's account, or deactivate it.",
    RefusalCause.AGENT_NOT_PERMITTED: "Name the agent's connection in the trunk's `context` or `destinations`.",
    RefusalCause.AGENT_HAS_NO_URL: "Give the agent's connection for Twilio a `url` or `twiml`.",
    RefusalCause.AGENT_URL_INVALID: "Correct the `url` of the agent's connection for Twilio.",
    RefusalCause.STASIS_APP_NOT_CONNECTED: "Start the agent's application, so that it connects to Asterisk.",
    RefusalCause.NO_PUBLIC_URL: "Set DIALER_PUBLIC_URL to where the network reaches the API.",
    RefusalCause.NETWORK_UNREACHABLE: "Check the trunk's host and port, DIALER_TRUNK_NETWORKS and firewalls.",
    RefusalCause.TIMED_OUT: "Check that the host answers and no firewall drops packets; or raise timeout_seconds.",
    RefusalCause.TLS_FAILED: "Check the certificate, and name a private CA in SSL_CERT_FILE.",
    RefusalCause.PROTOCOL_ERROR: "Check that the trunk's URL or port is that of the network's API.",
    RefusalCause.WRONG_URL: "Correct the URL in the trunk; on Asterisk, enable ARI in http.conf and ari.conf.",
    RefusalCause.REDIRECTED: "Give the trunk the URL to which the network redirects.",
    RefusalCause.WRONG_CREDENTIALS: "Correct the user name, password, token or secret of the trunk.",
    RefusalCause.PERMISSION_DENIED: "Let this user place calls: read_only in ari.conf, or the rights of the account.",
    RefusalCause.ACCOUNT_NOT_ACTIVE: "Reactivate the account with its network.",
    RefusalCause.PAYMENT_REQUIRED: "Top up the account.",
    RefusalCause.CONCURRENCY_LIMIT: "Lower the trunk's max_concurrent_calls, or have the account's limit raised.",
    RefusalCause.RATE_LIMITED: "Nothing, or lower the trunk's calls_per_second: calls are placed again later.",
    RefusalCause.CALL_QUEUE_FULL: "Lower the trunk's calls_per_second.",
    RefusalCause.BAD_REQUEST: "Check that the platform follows docs/providers/http.md; its log has the reason.",
    RefusalCause.REQUEST_TOO_LARGE: "Load fewer variables per contact, or let the platform take larger requests.",
    RefusalCause.TOO_EARLY: "Nothing: the contact is called again later.",
    RefusalCause.COMMAND_REFUSED: "Load mod_commands, and permit bgapi and originate on FreeSWITCH's event socket.",
    RefusalCause.TOO_LATE: "Nothing: the contact is called again. If it happens often, find out why requests are slow.",
    RefusalCause.ALLOCATION_FAILED: "Look at Asterisk's log: it lacks memory, or its endpoint cannot take a channel.",
    RefusalCause.NOT_BOOTED: "Wait until Asterisk has started.",
    RefusalCause.SERVER_ERROR: "Change `faults` in the trunk's config.",
}

# The causes of refusals that are counted by name: those of networks, of the rules of a workspace, and of permits.
KNOWN_CAUSES = frozenset({
    *RefusalCause, "country_not_allowed", "premium_rate_not_allowed", "suppressed", "contact_changed", "person_limit",
    "batch_paused", "batch_cancelled", "batch_completed", "batch_failed",
})  # fmt: skip
