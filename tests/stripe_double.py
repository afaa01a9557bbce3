"""A Stripe of our own: a real HTTP server with state, made of Stripe's official example objects.

It checks parameter names and types against Stripe's own description (the typed parameters of its library), honours
idempotency keys (same key, other parameters: error; an answer once given, also a 500, is given again), signs events,
and can be told to time out, to answer 500, to lose an answer after doing the work, and to send events twice, late or
in another order. The real stripe-python talks to it over HTTP.
"""

import copy
import json
import threading
import time
import typing
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import stripe
import typing_extensions
from stripe._api_version import _ApiVersion
from stripe.params import ChargeListParams, RefundCreateParams, RefundListParams
from stripe.params.checkout import SessionCreateParams, SessionExpireParams, SessionRetrieveParams

FIXTURES = json.loads((Path(__file__).parent / "data" / "stripe-fixtures.json").read_text(encoding="utf-8"))[
    "resources"
]
KEY, WEBHOOK_SECRET = "sk_test_double", "whsec_double"


NAMES = {"StripeContext": str, "Mapping": dict}  # what the library imports for type checkers only


class Refused(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str, *, kind: str = "invalid_request_error", **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"type": kind, "message": message, **more}}


def nested(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """The content of a form with names such as `line_items[0][price_data][currency]`."""
    content: dict[str, Any] = {}
    for name, value in pairs:
        parts = name.replace("]", "").split("[")
        at = content
        for part in parts[:-1]:
            at = at.setdefault(part, {})
        at[parts[-1]] = value
    return content


def check(value: Any, hint: Any, path: str) -> Any:
    """The value as its description has it; Refused for an unknown name or another type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.NotRequired, typing.Required):
        return check(value, inner[0], path)
    if typing_extensions.is_typeddict(hint):
        if not isinstance(value, dict):
            raise Refused(400, f"Invalid object: {path}", param=path)
        hints = typing_extensions.get_type_hints(hint, localns=NAMES, include_extras=True)
        for name in hint.__required_keys__ - value.keys():
            if typing.get_origin(hints[name]) is not typing.NotRequired:
                raise Refused(400, f"Missing required param: {path}[{name}].", code="parameter_missing", param=path)
        for name in value:
            if name not in hints or name in stripe.RequestOptions.__annotations__:
                code = "payment_method_types_no_longer_supported" if name == "payment_method_types" else None
                raise Refused(400, f"Received unknown parameter: {path}{name}", code=code or "parameter_unknown")
        return {name: check(one, hints[name], f"{path}{name}.") for name, one in value.items()}
    if hint is int:
        if not isinstance(value, str) or not value.lstrip("-").isdigit():
            raise Refused(400, f"Invalid integer: {value}", param=path)
        return int(value)
    if hint is bool:
        if value not in ("true", "false"):
            raise Refused(400, f"Invalid boolean: {value}", param=path)
        return value == "true"
    if hint is str:
        if not isinstance(value, str):
            raise Refused(400, f"Invalid string: {path}", param=path)
        return value
    if origin is list:
        if not isinstance(value, dict) or sorted(value, key=int) != [str(n) for n in range(len(value))]:
            raise Refused(400, f"Invalid array: {path}", param=path)
        return [check(value[str(n)], inner[0], f"{path}{n}.") for n in range(len(value))]
    if origin is dict:
        return {name: check(one, inner[1], f"{path}{name}.") for name, one in value.items()}
    if origin is typing.Literal:
        if value not in inner:
            raise Refused(400, f"Invalid value: {value}", param=path)
        return value
    if inner:  # one of several
        for one in inner:
            try:
                return check(value, one, path)
            except Refused as refused:
                last = refused
        raise last
    return value


class StripeDouble:
    """The server, what it knows, and what it was told to do wrong."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.charges: dict[str, dict[str, Any]] = {}
        self.refunds: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, tuple[str, int, bytes]] = {}
        self.waiting: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, str]] = []
        self.faults: list[tuple[str, str]] = []
        self.refund_status = "succeeded"
        self.on_request: Callable[[str, str, str], None] = lambda when, method, path: None
        self.clock: Callable[[], float] = time.time
        self.lock = threading.Lock()
        self.count = 0
        double = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                double.handle(self, body)

            do_GET = do_POST = _any

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def fail_next(self, path_end: str, how: str, times: int = 1) -> None:
        """Let the next requests to a path go wrong: `timeout`, `error`, `lost` (the work is done), `busy` (429)."""
        self.faults += [(path_end, how)] * times

    def asked(self, method: str, path_end: str) -> int:
        """How many requests came."""
        return sum(1 for one, path, _ in self.requests if one == method and path.endswith(path_end))

    # The API.

    def handle(self, request: BaseHTTPRequestHandler, body: str) -> None:
        address = urlsplit(request.path)
        key = request.headers.get("Idempotency-Key") or ""
        path, method = address.path, request.command
        with self.lock:
            self.requests.append((method, path, key))
            fault = next((one for one in self.faults if path.endswith(one[0])), None)
            if fault:
                self.faults.remove(fault)
        how = fault[1] if fault else ""
        self.on_request("before", method, path)
        if how == "timeout":
            time.sleep(1.0)
            request.close_connection = True
            return
        with self.lock:
            status, answer = self._answer_once(method, path, body or address.query, key, request.headers, how)
        self.on_request("after", method, path)
        if how == "lost":
            request.close_connection = True
            return
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)

    def _answer_once(self, method: str, path: str, text: str, key: str, headers: Any, how: str) -> tuple[int, bytes]:
        try:
            if headers.get("Authorization") != f"Bearer {KEY}":
                raise Refused(401, "Invalid API Key provided")
            if headers.get("Stripe-Version") != _ApiVersion.CURRENT:
                raise Refused(400, "Invalid Stripe API version")
            if how == "busy":
                raise Refused(429, "Too many requests", code="rate_limit")
            if method == "POST" and key in self.answers:
                first_text, status, answer = self.answers[key]
                if first_text != f"{path}?{text}":
                    raise Refused(
                        400,
                        "Keys for idempotent requests can only be used with the same parameters.",
                        kind="idempotency_error",
                    )
                return status, answer
            content = nested(parse_qsl(text, keep_blank_values=True))
            if how == "error":
                status, answer = 500, b'{"error": {"type": "api_error", "message": "An unknown error occurred"}}'
            else:
                status, answer = 200, json.dumps(self._answer(method, path, content)).encode()
            if method == "POST":
                self.answers[key] = (f"{path}?{text}", status, answer)
            return status, answer
        except Refused as refused:
            return refused.status, json.dumps(refused.body).encode()

    def _answer(self, method: str, path: str, content: dict[str, Any]) -> dict[str, Any]:
        parts = path.removeprefix("/v1/").split("/")
        if (method, path) == ("POST", "/v1/checkout/sessions"):
            return self._make_session(check(content, SessionCreateParams, ""))
        if parts[:2] == ["checkout", "sessions"] and len(parts) > 2 and parts[2] not in self.sessions:
            raise Refused(404, f"No such checkout.session: {parts[2]}", code="resource_missing")
        if method == "GET" and parts[:2] == ["checkout", "sessions"] and len(parts) == 3:
            check(content, SessionRetrieveParams, "")
            return self.sessions[parts[2]]
        if method == "POST" and parts[:2] == ["checkout", "sessions"] and parts[3:] == ["expire"]:
            check(content, SessionExpireParams, "")
            if self.sessions[parts[2]]["status"] != "open":
                raise Refused(400, "Only Checkout Sessions with a status in ['open'] can be expired.")
            self._expire(parts[2])
            return self.sessions[parts[2]]
        if (method, path) == ("POST", "/v1/refunds"):
            return self._make_refund(check(content, RefundCreateParams, ""))
        if (method, path) == ("GET", "/v1/refunds"):
            return self._list(path, self.refunds, check(content, RefundListParams, ""))
        if (method, path) == ("GET", "/v1/charges"):
            return self._list(path, self.charges, check(content, ChargeListParams, ""))
        raise Refused(404, f"Unrecognized request URL ({method}: {path})")

    def _new(self, resource: str, prefix: str, **values: Any) -> dict[str, Any]:
        self.count += 1
        thing = copy.deepcopy(FIXTURES[resource])
        assert values.keys() <= thing.keys() | {"failure_reason", "allowed_payment_method_types"}, values.keys()
        return {**thing, "id": f"{prefix}{self.count:024d}", "created": int(self.clock()), **values}

    def _make_session(self, given: dict[str, Any]) -> dict[str, Any]:
        price = given["line_items"][0]["price_data"]
        if given["mode"] != "payment" or price["currency"] != "cny" or len(given["line_items"]) != 1:
            raise Refused(400, "not what this shop sells")
        if price["unit_amount"] < 1 or not 1800 <= given["expires_at"] - self.clock() <= 86400:
            raise Refused(400, "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.")
        if "wechat_pay" in given["allowed_payment_method_types"] and (
            given["payment_method_options"]["wechat_pay"]["client"] != "web"
        ):
            raise Refused(400, "You must specify payment_method_options[wechat_pay][client]")
        if not all(given[name].startswith("http") for name in ("success_url", "cancel_url")):
            raise Refused(400, "Not a valid URL", code="url_invalid")
        session = self._new(
            "checkout.session",
            "cs_test_",
            amount_subtotal=price["unit_amount"],
            amount_total=price["unit_amount"],
            currency=price["currency"],
            client_reference_id=given["client_reference_id"],
            metadata=given["metadata"],
            expires_at=given["expires_at"],
            success_url=given["success_url"],
            cancel_url=given["cancel_url"],
            locale=given["locale"],
            payment_intent=None,
            payment_method_types=given["allowed_payment_method_types"],
        )
        session["url"] = f"https://checkout.stripe.com/c/pay/{session['id']}"
        self.sessions[session["id"]] = session
        return session

    def _make_refund(self, given: dict[str, Any]) -> dict[str, Any]:
        charge = self.charges.get(given["payment_intent"])
        if charge is None:
            raise Refused(404, f"No such payment_intent: '{given['payment_intent']}'", code="resource_missing")
        left = charge["amount"] - charge["amount_refunded"]
        if given["amount"] > left:
            code = "charge_already_refunded" if left == 0 else "amount_too_large"
            raise Refused(400, "Refund amount is greater than unrefunded amount on charge", code=code)
        refund = self._new(
            "refund",
            "re_",
            amount=given["amount"],
            currency=charge["currency"],
            charge=charge["id"],
            payment_intent=given["payment_intent"],
            metadata=given["metadata"],
            reason=given["reason"],
            status=self.refund_status,
        )
        self.refunds[refund["id"]] = refund
        charge["amount_refunded"] += given["amount"] if self.refund_status != "failed" else 0
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        self._tell("charge.refunded", charge)
        self._tell("refund.updated", refund)
        return refund

    def _list(self, path: str, things: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        created = given.get("created") or {}
        found = [
            thing
            for thing in sorted(things.values(), key=lambda one: (one["created"], one["id"]), reverse=True)
            if given.get("payment_intent") in (None, thing["payment_intent"])
            and created.get("gte", 0) <= thing["created"] < created.get("lt", 2**40)
        ]
        after = given.get("starting_after")
        if after is not None:
            found = found[[thing["id"] for thing in found].index(after) + 1 :]
        limit = min(given.get("limit", 10), 3)  # short pages: the caller has to turn them
        return {"object": "list", "url": path, "has_more": len(found) > limit, "data": found[:limit]}

    # What happens at Stripe.

    def last_session(self) -> str:
        return list(self.sessions)[-1]

    def pay(
        self,
        session_id: str | None = None,
        *,
        amount: int | None = None,
        currency: str | None = None,
        tell: bool = True,
    ) -> str:
        """The buyer pays; return what Stripe calls the money."""
        session = self.sessions[session_id or self.last_session()]
        if session["status"] == "expired":
            raise AssertionError("Stripe takes no money for an expired session")
        session |= {"status": "complete", "payment_status": "paid"}
        session |= {"amount_total": amount or session["amount_total"], "currency": currency or session["currency"]}
        intent = self.charge(session["amount_total"], session["currency"], session["metadata"])
        session["payment_intent"] = intent
        if tell:
            self._tell("checkout.session.completed", session)
        return intent

    def charge(self, amount: int, currency: str, metadata: dict[str, str]) -> str:
        """Money comes in; return what Stripe calls it."""
        self.count += 1
        intent = f"pi_{self.count:024d}"
        self.charges[intent] = self._new(
            "charge",
            "ch_",
            amount=amount,
            amount_captured=amount,
            captured=True,
            currency=currency,
            metadata=dict(metadata),
            payment_intent=intent,
        )
        return intent

    def pay_slowly(self, session_id: str) -> None:
        """The buyer chose a method whose result comes later."""
        self.sessions[session_id] |= {"status": "complete", "payment_status": "unpaid"}
        self._tell("checkout.session.completed", self.sessions[session_id])

    def finish(self, session_id: str, *, paid: bool) -> None:
        """That result."""
        session = self.sessions[session_id]
        if paid:
            session["payment_status"] = "paid"
            session["payment_intent"] = self.charge(session["amount_total"], session["currency"], session["metadata"])
        self._tell(f"checkout.session.async_payment_{'succeeded' if paid else 'failed'}", session)

    def _expire(self, session_id: str) -> None:
        self.sessions[session_id]["status"] = "expired"
        self._tell("checkout.session.expired", self.sessions[session_id])

    def expire(self, session_id: str) -> None:
        with self.lock:
            self._expire(session_id)

    def finish_refund(self, refund_id: str, status: str, why: str = "") -> None:
        """A refund's result comes later, or a refund comes back from the buyer's bank."""
        refund = self.refunds[refund_id]
        if status == "failed" and refund["status"] != "failed":
            charge = self.charges[refund["payment_intent"]]
            charge["amount_refunded"] -= refund["amount"]
            charge["refunded"] = False
        refund |= {"status": status, "failure_reason": why}
        if status == "failed":
            self._tell("refund.failed", refund)
        self._tell("refund.updated", refund)

    def refund_by_hand(self, intent: str, amount: int) -> str:
        """Somebody sends money back in Stripe's dashboard."""
        with self.lock:
            given = {"payment_intent": intent, "amount": amount, "metadata": {}, "reason": None}
            return str(self._make_refund(given)["id"])

    def dispute(self, intent: str, status: str, kind: str) -> None:
        """The buyer's bank takes money back (`created`), or has decided (`closed`)."""
        charge = self.charges[intent]
        thing = {
            "id": f"dp_{intent[3:]}",
            "object": "dispute",
            "amount": charge["amount"],
            "currency": charge["currency"],
            "charge": charge["id"],
            "payment_intent": intent,
            "status": status,
            "reason": "fraudulent",
        }
        self._tell(f"charge.dispute.{kind}", thing)

    # Events.

    def _tell(self, kind: str, thing: dict[str, Any]) -> None:
        event = self._new("event", "evt_", type=kind, data={"object": copy.deepcopy(thing)})
        self.waiting.append({**event, "api_version": _ApiVersion.CURRENT})

    def tell(self, kind: str, thing: dict[str, Any]) -> None:
        """Make an event of anything."""
        self._tell(kind, thing)

    def signed(self, event: dict[str, Any], at: int | None = None, secret: str = WEBHOOK_SECRET) -> tuple[bytes, str]:
        """An event's exact bytes and signature."""
        body = json.dumps(event)
        return body.encode(), stripe.WebhookSignature.generate_signature_header(body, secret, at)

    def deliver(self, client: Any, *, times: int = 1, order: int = 1) -> list[int]:
        """Send the waiting events to our webhook, each `times` times, backwards with order -1; return the statuses."""
        statuses = []
        told, self.waiting = self.waiting[::order], []
        for event in told:
            body, signature = self.signed(event)
            for _ in range(times):
                answer = client.post(
                    "/webhooks/stripe",
                    data=body,
                    headers={"Stripe-Signature": signature},
                    content_type="application/json",
                )
                statuses.append(answer.status_code)
            self.sent.append(event)
        return statuses


@contextmanager
def running():
    """A double that runs."""
    double = StripeDouble()
    try:
        yield double
    finally:
        double.stop()
