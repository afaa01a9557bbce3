"""Pages of signing in and out: by code, by password and second factor, by a union's own identity provider."""

import io
from typing import Any

import segno
from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from flask import Flask, current_app, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from kernel import clock
from kernel.doors import PageBlueprint, said
from kernel.errors import DomainError, NotFound
from kernel.sealing import seal, unseal
from people import queries as people_queries
from people.rules import BY_CODE, BY_PASSWORD, BY_PROVIDER, BY_TOTP, MEMBER, MERCHANT, OPERATOR, STATION, Identity
from people.services import entry
from web.access import KEPT, SECRET

bp = PageBlueprint("pages", __name__, audience="everyone")
oauth = OAuth()
# Between the password and the second factor: who, since when. Nothing is open to them yet.
HALF, HALF_SECONDS, SET_UP = "half_signed_in", 600, "set up"


def install(app: Flask) -> None:
    """Know the unions' identity providers: authorization code flow, PKCE, nonce, discovery."""
    oauth.init_app(app)
    for provider in app.config["HUIGONG"].oidc:
        oauth.register(
            provider["slug"],
            overwrite=True,
            client_id=provider["client_id"],
            client_secret=provider["client_secret"],
            server_metadata_url=provider["issuer"].rstrip("/") + "/.well-known/openid-configuration",
            client_kwargs={"scope": provider.get("scope", "openid profile phone"), "code_challenge_method": "S256"},
        )


def _settings() -> Any:
    return current_app.config["HUIGONG"]


def _limits() -> entry.Limits:
    return entry.Limits(_settings().codes_per_phone, _settings().tries_per_address)


def local_path(target: str) -> str | None:
    """Return a path on this site, or None for an address that leads elsewhere."""
    # Browsers drop tabs and line ends from an address: "/\t/elsewhere.example" would lead elsewhere.
    safe = target.startswith("/") and not target.startswith("//") and "\\" not in target and target.isprintable()
    return target if safe else None


def _home_of(identity: Identity) -> str:
    if OPERATOR in identity.roles:
        return url_for("operator.home")
    if MERCHANT in identity.roles:
        return url_for("merchant.home")
    if STATION in identity.roles:
        return url_for("station.home")
    if identity.union_id is not None and MEMBER not in identity.roles:
        return url_for("union.home")
    return url_for("shop.home")


def _begin(person_id: int, method: str, target: str) -> ResponseReturnValue:
    """Sign somebody in under a new secret: what the cookie held before opens nothing."""
    settings, now = _settings(), clock.now()
    staff = method in (BY_PASSWORD, BY_TOTP)
    terms = entry.Terms(
        settings.staff_idle_seconds if staff else settings.session_idle_seconds,
        settings.staff_seconds if staff else settings.session_seconds,
    )
    kept = {key: session[key] for key in (*KEPT, "campaign", "cart") if session.get(key)}
    if g.get("identity") is not None:
        entry.end(person_id=g.identity.person_id, sign_in_id=g.identity.sign_in_id, now=now)
    agent = request.headers.get("User-Agent", "")
    secret = entry.begin(person_id=person_id, method=method, terms=terms, agent=agent, now=now)
    session.clear()
    session.update(kept)
    session.permanent = True
    session[SECRET] = secret
    identity = people_queries.by_id(person_id)
    assert identity is not None
    identity = identity.with_seats_of(method, staff_by_code=settings.staff_by_code)
    return redirect(local_path(target) or _home_of(identity), 303)


@bp.get("/sign-in")
def sign_in() -> ResponseReturnValue:
    """Ask for a phone number."""
    return _phone_page({})


def _phone_page(errors: Any, problem: str | None = None, status: int = 200) -> ResponseReturnValue:
    page = render_template(
        "pages/sign_in.html",
        next=request.values.get("next", ""),
        phone=request.form.get("phone", ""),
        providers=_settings().oidc,
        errors=errors,
        problem=problem,
    )
    return page, status


@bp.post("/sign-in")
def send_code() -> ResponseReturnValue:
    """Send a one-time code, or check it."""
    form = request.form
    settings = _settings()
    if "code" not in form:
        try:
            phone, code = entry.ask_for_code(
                phone=form.get("phone", ""), key=settings.secret_key, allowed=_limits(), now=clock.now()
            )
        except DomainError as refused:
            return _refused(_phone_page, refused)
        return _code_page(phone, {}, shown=code if settings.show_codes else None)
    try:
        identity = entry.sign_in_by_code(
            phone=form.get("phone", ""),
            code=form["code"],
            key=settings.secret_key,
            allowed=_limits(),
            now=clock.now(),
        )
    except DomainError as refused:
        return _refused(lambda *told: _code_page(form.get("phone", ""), *told), refused)
    return _begin(identity.person_id, BY_CODE, form.get("next", ""))


def _code_page(
    phone: str, errors: Any, problem: str | None = None, status: int = 200, shown: str | None = None
) -> ResponseReturnValue:
    page = render_template(
        "pages/code.html",
        next=request.form.get("next", ""),
        phone=phone,
        errors=errors,
        problem=problem,
        shown=shown,
    )
    return page, status


def _refused(page: Any, refused: DomainError) -> ResponseReturnValue:
    """Say a refusal beside its field, or above the form; with Retry-After where waiting helps."""
    errors = refused.extra.get("errors", {})
    body, status = page(errors, None if errors else said(refused), refused.status)
    headers = {"Retry-After": str(refused.extra["retry_after"])} if "retry_after" in refused.extra else {}
    return body, status, headers


@bp.get("/sign-in/staff")
def staff() -> ResponseReturnValue:
    """Ask for a name and a password."""
    return _staff_page({})


def _staff_page(errors: Any, problem: str | None = None, status: int = 200) -> ResponseReturnValue:
    page = render_template(
        "pages/staff.html",
        next=request.values.get("next", ""),
        login=request.form.get("login", ""),
        errors=errors,
        problem=problem,
    )
    return page, status


@bp.post("/sign-in/staff")
def check_password() -> ResponseReturnValue:
    """Check a name and a password; then the second factor, where it is set up or compulsory."""
    form = request.form
    try:
        identity, credential = entry.check_password(
            login=form.get("login", ""), password=form.get("password", ""), allowed=_limits(), now=clock.now()
        )
    except DomainError as refused:
        return _refused(_staff_page, refused)
    if credential.totp_sealed is None and not entry.needs_second_factor(identity) and not credential.must_change:
        return _begin(identity.person_id, BY_PASSWORD, form.get("next", ""))
    session[HALF] = {"person_id": identity.person_id, "at": clock.now().timestamp(), "next": form.get("next", "")}
    if credential.must_change:
        session[HALF]["must_change"] = True
        return redirect(url_for("pages.first_password"), 303)
    return _after_password(credential.totp_sealed is not None)


def _after_password(has_factor: bool) -> ResponseReturnValue:
    half = _half()
    identity = people_queries.by_id(half["person_id"])
    assert identity is not None
    if has_factor:
        return redirect(url_for("pages.second_factor"), 303)
    if entry.needs_second_factor(identity):
        return redirect(url_for("pages.set_up"), 303)
    return _begin(identity.person_id, BY_PASSWORD, half["next"])


def _half() -> dict[str, Any]:
    """Return who has shown a password and nothing more; raise NotFound where nobody has lately."""
    half = session.get(HALF)
    if not half or clock.now().timestamp() - half["at"] > HALF_SECONDS:
        session.pop(HALF, None)
        raise NotFound("请重新登录。")
    return dict(half)


@bp.get("/sign-in/password")
def first_password() -> ResponseReturnValue:
    """Ask for a password of one's own in place of the one that was given."""
    _half()
    return _first_password_page({})


def _first_password_page(errors: Any, problem: str | None = None, status: int = 200) -> ResponseReturnValue:
    return render_template("pages/first_password.html", errors=errors, problem=problem), status


@bp.post("/sign-in/password")
def choose_password() -> ResponseReturnValue:
    """Set a password of one's own."""
    half = _half()
    try:
        entry.change_password(
            person_id=half["person_id"],
            old=request.form.get("old", ""),
            new=request.form.get("new", ""),
            keep=None,
            now=clock.now(),
        )
    except DomainError as refused:
        return _refused(_first_password_page, refused)
    session[HALF] = {**half, "must_change": False}
    return _after_password(people_queries.has_second_factor(half["person_id"]))


@bp.get("/sign-in/factor")
def second_factor() -> ResponseReturnValue:
    """Ask for the second factor."""
    _half()
    return _factor_page({})


def _factor_page(errors: Any, problem: str | None = None, status: int = 200) -> ResponseReturnValue:
    return render_template("pages/factor.html", errors=errors, problem=problem), status


@bp.post("/sign-in/factor")
def check_factor() -> ResponseReturnValue:
    """Check the second factor."""
    half = _half()
    if half.get("must_change"):
        raise NotFound("请重新登录。")
    try:
        entry.check_second_factor(
            person_id=half["person_id"],
            code=request.form.get("code", ""),
            key=_settings().secret_key,
            allowed=_limits(),
            now=clock.now(),
        )
    except DomainError as refused:
        return _refused(_factor_page, refused)
    return _begin(half["person_id"], BY_TOTP, half["next"])


@bp.get("/sign-in/set-up")
def set_up() -> ResponseReturnValue:
    """Show a secret to an authenticator app."""
    half = _half()
    if half.get("must_change") or people_queries.has_second_factor(half["person_id"]):
        raise NotFound("请重新登录。")
    if "sealed" not in half:
        sealed = seal(entry.new_totp_secret(), key=_settings().secret_key, purpose=SET_UP)
        session[HALF] = {**half, "sealed": sealed}
    return _set_up_page({})


def _secret(half: dict[str, Any]) -> str:
    """Return the secret being set up: the cookie carries it sealed."""
    secret = unseal(half.get("sealed", ""), key=_settings().secret_key, purpose=SET_UP)
    if secret is None:
        raise NotFound("请重新登录。")
    return secret


def _set_up_page(errors: Any, problem: str | None = None, status: int = 200) -> ResponseReturnValue:
    half = _half()
    secret = _secret(half)
    page = render_template(
        "pages/set_up.html",
        secret=secret,
        picture=qr(entry.totp_address(secret, login=people_queries.login_of(half["person_id"]) or "huigong")),
        errors=errors,
        problem=problem,
    )
    return page, status


@bp.post("/sign-in/set-up")
def finish_set_up() -> ResponseReturnValue:
    """Turn the second factor on and sign in; show the recovery codes this once."""
    half = _half()
    if half.get("must_change") or people_queries.has_second_factor(half["person_id"]):
        raise NotFound("请重新登录。")
    try:
        codes = entry.set_up_totp(
            person_id=half["person_id"],
            secret=_secret(half),
            code=request.form.get("code", ""),
            key=_settings().secret_key,
            now=clock.now(),
        )
    except DomainError as refused:
        return _refused(_set_up_page, refused)
    answer: Any = _begin(half["person_id"], BY_TOTP, half["next"])
    return render_template("pages/recovery_codes.html", codes=codes, next=answer.headers["Location"])


def qr(text: str) -> str:
    """Return a QR code as SVG, to be put into a page."""
    picture = io.BytesIO()
    segno.make(text, error="m").save(picture, kind="svg", scale=5, border=2, xmldecl=False, svgns=False, nl=False)
    return picture.getvalue().decode()


@bp.get("/sign-in/with/<slug>")
def with_provider(slug: str) -> ResponseReturnValue:
    """Go to a union's own identity provider."""
    provider = _provider(slug)
    session["after_provider"] = request.args.get("next", "")
    return oauth.create_client(provider["slug"]).authorize_redirect(  # type: ignore[no-any-return]
        url_for("pages.from_provider", slug=slug, _external=True)
    )


@bp.get("/sign-in/from/<slug>")
def from_provider(slug: str) -> ResponseReturnValue:
    """Come back from it: signature, issuer, audience and nonce are checked by the library."""
    provider = _provider(slug)
    try:
        token = oauth.create_client(slug).authorize_access_token()
        value = str((token.get("userinfo") or {}).get(provider["claim"], ""))
        identity = entry.by_provider(union_code=provider["union_code"], claim=provider["claim"], value=value)
    except OAuthError:
        flash(gettext("身份提供方没有完成登录，请再试一次。"), "warning")
        return redirect(url_for("pages.sign_in"), 303)
    except DomainError as refused:
        flash(said(refused), "warning")
        return redirect(url_for("pages.sign_in"), 303)
    return _begin(identity.person_id, BY_PROVIDER, session.get("after_provider", ""))


def _provider(slug: str) -> dict[str, str]:
    for provider in _settings().oidc:
        if provider["slug"] == slug:
            return dict(provider)
    raise NotFound("没有找到您要的内容。")


@bp.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """End the sign-in, here and in the database."""
    if g.identity is not None and g.identity.sign_in_id is not None:
        entry.end(person_id=g.identity.person_id, sign_in_id=g.identity.sign_in_id, now=clock.now())
    kept = {key: session[key] for key in KEPT if session.get(key)}
    session.clear()
    session.update(kept)
    answer = redirect(url_for("shop.home"), 303)
    # What this device kept to show offline goes too. Not "cookies": how somebody likes to read stays.
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return answer
