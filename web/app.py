"""The app factory: every room's doors, one access rule, one kind of error."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from babel.dates import format_datetime
from flask import Flask, Request, Response, appcontext_pushed, g, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_babel import Babel, get_locale, gettext
from flask_bootstrap import Bootstrap5
from flask_migrate import Migrate
from flask_smorest import Api
from werkzeug.middleware.proxy_fix import ProxyFix

import catalog.api
import catalog.views
import orders.api.choices
import orders.api.hooks
import orders.api.member
import orders.api.merchant
import orders.api.money
import orders.api.operator
import orders.api.papers
import orders.api.pickups
import orders.api.setup
import orders.api.shortages
import orders.api.statements
import orders.api.stations
import orders.api.union
import orders.api.voices
import orders.api.webhooks
import orders.views_choices
import orders.views_dashboard
import orders.views_evidence
import orders.views_grants
import orders.views_hooks
import orders.views_member
import orders.views_merchant
import orders.views_money
import orders.views_operator
import orders.views_pickup
import orders.views_privacy
import orders.views_setup
import orders.views_sharing
import orders.views_shortages
import orders.views_statements
import orders.views_stations
import orders.views_union
import orders.views_voices
import orders.views_works
import people.api
import people.views
import people.views_messages
import voices.api
import voices.views
import voucher.api
import voucher.views
from catalog.rules import picture_path
from finance.gateway import providers
from finance.gateway.bank import Bank
from finance.gateway.providers import Provider
from finance.gateway.rules import BANK, SANDBOX, STRIPE
from finance.gateway.sandbox import Sandbox
from finance.gateway.stripe import Stripe
from kernel import clock, files
from kernel.clock import local
from kernel.db import REPLICA, db, prepare_engine
from kernel.doors import figures_here
from kernel.errors import NotFound
from kernel.money import yuan
from kernel.pictures import at_width
from voices import queries as voice_queries
from voucher import queries as voucher_queries
from web import (
    access,
    admission,
    assets,
    auditing,
    cli,
    headers,
    health,
    importing,
    looks,
    metrics,
    pages,
    problems,
    requests,
    signing,
)
from web.settings import INSTANCE, ROOT, Settings, read

LANGUAGES = ("zh_CN", "en")
API_BLUEPRINTS = (
    voucher.api.everyone,
    voucher.api.member,
    voucher.api.operator,
    catalog.api.everyone,
    catalog.api.merchant,
    catalog.api.operator,
    people.api.signed_in,
    people.api.everyone,
    orders.api.member.bp,
    orders.api.union.bp,
    orders.api.choices.union,
    orders.api.choices.everyone,
    orders.api.papers.union,
    orders.api.papers.merchant,
    orders.api.shortages.merchant,
    orders.api.shortages.operator,
    orders.api.merchant.bp,
    orders.api.operator.bp,
    orders.api.setup.bp,
    orders.api.money.bp,
    orders.api.webhooks.bp,
    orders.api.hooks.bp,
    orders.api.statements.merchant,
    orders.api.statements.operator,
    voices.api.everyone,
    voices.api.merchant,
    voices.api.operator,
    orders.api.voices.member,
    orders.api.voices.everyone,
    orders.api.stations.operator,
    orders.api.pickups.station,
    auditing.api,
    importing.api,
)
PAGE_BLUEPRINTS = (
    pages.bp,
    catalog.views.pictures,
    catalog.views.merchant,
    catalog.views.operator,
    orders.views_pickup.operator,
    orders.views_pickup.station,
    orders.views_pickup.signed_in,
    orders.views_hooks.bp,
    orders.views_hooks.operator,
    orders.views_evidence.member,
    orders.views_evidence.signed_in,
    orders.views_member.shop,
    orders.views_member.bp,
    orders.views_sharing.everyone,
    orders.views_sharing.member,
    orders.views_union.bp,
    orders.views_choices.everyone,
    orders.views_choices.union,
    orders.views_choices.merchant,
    orders.views_shortages.merchant,
    orders.views_shortages.operator,
    orders.views_merchant.bp,
    orders.views_statements.merchant,
    orders.views_statements.operator,
    orders.views_operator.bp,
    orders.views_dashboard.bp,
    orders.views_works.bp,
    orders.views_money.bp,
    orders.views_privacy.own,
    voucher.views.bp,
    orders.views_setup.bp,
    orders.views_privacy.members,
    orders.views_grants.operator,
    orders.views_grants.everyone,
    orders.views_grants.member,
    people.views.account,
    people.views.seats,
    people.views_messages.operator,
    people.views_messages.own,
    voices.views.everyone,
    voices.views.merchant,
    voices.views.operator,
    orders.views_voices.search_page,
    orders.views_voices.member,
    orders.views_stations.everyone,
    orders.views_stations.operator,
    auditing.pages,
    importing.pages,
    assets.bp,
    looks.bp,
    health.bp,
)


class Huigong(Flask):
    """Flask, without a look at each view and hook whether it is a coroutine: none is."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as it is."""
        return func


class Sessions(SecureCookieSessionInterface):
    """Flask's sessions in signed cookies; whoever brings no cookie, as the API's clients do, has an empty one."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return what the cookie says."""
        return super().open_session(app, request) if "HTTP_COOKIE" in request.environ else self.session_class()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Send the cookie where it is to be sent; what is empty and was not looked at changes nothing."""
        if session or session.modified or session.accessed:
            super().save_session(app, session, response)


def create_app(settings: Settings | None = None) -> Flask:
    """Return the application. Raises UnsafeSetting where production would start unsafely."""
    settings = settings or read()
    app = Huigong("huigong", root_path=str(ROOT / "web"), instance_path=str(INSTANCE))
    app.config.update(_flask_config(settings))
    app.config["HUIGONG"] = settings
    app.config["TIERS_OF"] = _tiers_of
    app.config["CATALOG_SECONDS"] = settings.catalog_seconds
    app.config["FILES"] = files.store_at(
        settings.files,
        endpoint=settings.bucket_endpoint,
        key=settings.bucket_key,
        secret=settings.bucket_secret,
        region=settings.bucket_region,
    )
    app.session_interface = Sessions()
    INSTANCE.mkdir(exist_ok=True)
    headers.install(app)
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]

    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    db.init_app(app)
    with app.app_context():
        for engine in db.engines.values():
            prepare_engine(
                engine,
                statement_seconds=settings.statement_seconds,
                lock_seconds=settings.lock_seconds,
                idle_transaction_seconds=settings.idle_transaction_seconds,
                pooled=settings.transaction_pooling,
            )
    app.config["PROVIDERS"] = providers_of(settings)
    appcontext_pushed.connect(_use_providers, app)
    Migrate(app, db, directory=str(ROOT / "migrations"), render_as_batch=True, compare_type=True)
    Babel(app, locale_selector=_language, default_translation_directories=str(ROOT / "web" / "translations"))
    Bootstrap5(app)
    api = Api(app)
    for blueprint in API_BLUEPRINTS:
        api.register_blueprint(blueprint)
    for page_blueprint in PAGE_BLUEPRINTS:
        app.register_blueprint(page_blueprint)
    requests.install(app)
    metrics.install(app)
    access.install(app)
    signing.install(app)
    assets.install(app)
    # flask-smorest answers HTTP errors itself unless told otherwise: ours replace its.
    problems.install(app)
    admission.install(app, wait_ms=settings.wait_milliseconds)
    app.context_processor(_for_templates)
    cli.install(app)
    return app


def _flask_config(settings: Settings) -> dict[str, Any]:
    postgresql = settings.database_url.startswith("postgresql")
    # What is bound to a statement is people's names, phones and addresses: an error of the database quotes none of it.
    options: dict[str, Any] = {"pool_pre_ping": False, "hide_parameters": True}
    if postgresql:
        options |= {"pool_size": settings.pool_size, "max_overflow": settings.pool_overflow}
        options |= {"pool_timeout": settings.pool_seconds}
        options |= {"connect_args": {"connect_timeout": settings.connect_seconds, "application_name": "huigong"}}
        # psycopg would prepare what comes often by itself, and forget it all (what kernel.trips prepared, too) at every
        # rollback, which is how each request ends that only looks.
        options["connect_args"]["prepare_threshold"] = None
    else:
        options |= {"connect_args": {"timeout": 30}}
    return {
        "SECRET_KEY": settings.secret_key or "unset",
        "SQLALCHEMY_DATABASE_URI": settings.database_url,
        "SQLALCHEMY_ENGINE_OPTIONS": options,
        "SQLALCHEMY_BINDS": {REPLICA: {"url": settings.replica_url, **options}} if settings.replica_url else {},
        "API_TITLE": "Huigong",
        "API_VERSION": "v1",
        "OPENAPI_VERSION": "3.0.3",
        "OPENAPI_URL_PREFIX": "/api/v1",
        "OPENAPI_JSON_PATH": "openapi.json",
        "JSON_SORT_KEYS": False,
        "MAX_CONTENT_LENGTH": 10 * 1024 * 1024,
        "MAX_FORM_MEMORY_SIZE": 1024 * 1024,
        "BABEL_DEFAULT_LOCALE": "zh_CN",
        "BABEL_DEFAULT_TIMEZONE": "Asia/Shanghai",
        "PERMANENT_SESSION_LIFETIME": settings.session_seconds,
        "SESSION_COOKIE_SECURE": settings.secure_cookies,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "WTF_CSRF_TIME_LIMIT": None,
        "WTF_CSRF_SSL_STRICT": settings.secure_cookies,
        "BOOTSTRAP_SERVE_LOCAL": True,
    }


def _use_providers(app: Flask, **_: Any) -> None:
    providers.use(app.config["PROVIDERS"])


def providers_of(settings: Settings) -> dict[str, Provider]:
    """Who moves money here. Without its settings Stripe takes no event (no signature is right) and starts nothing."""
    stripe = Stripe(
        key=settings.stripe_secret_key,
        webhook_secret=settings.stripe_webhook_secret,
        base=settings.stripe_api_base,
        seconds=settings.stripe_seconds,
    )
    found: dict[str, Provider] = {STRIPE: stripe, BANK: Bank()}
    if settings.sandbox:
        found[SANDBOX] = Sandbox(secret=settings.secret_key)
    return found


def _tiers_of(slug: str | None) -> tuple[int, ...] | None:
    """The tiers of a campaign's packs; all where none is named, none where there is no such campaign."""
    if slug is None:
        return None
    try:
        return voucher_queries.campaign(slug, now=clock.now()).tiers_fen
    except NotFound:
        return ()


def _language() -> str:
    chosen = session.get("language") if not request.path.startswith("/api/") else None
    if chosen in LANGUAGES:
        return str(chosen)
    return request.accept_languages.best_match(["zh_CN", "zh", "en"], default="zh_CN").replace("zh", "zh_CN", 1)[:5]


def _local_time(moment: datetime | None) -> str:
    if moment is None:
        return ""
    return format_datetime(local(moment), gettext("MMMd日 HH:mm"), locale=get_locale())


def _news() -> int:
    """How many of a member's own questions were answered since they looked; looked up by the page that shows it."""
    identity = g.get("identity")
    return voice_queries.count_news(identity.member_id) if identity is not None and identity.member_id else 0


def _for_templates() -> dict[str, Any]:
    return {
        "figures_here": figures_here,
        "yuan": yuan,
        "who": g.get("identity"),
        "news": _news,
        "locale": str(get_locale()),
        "local_time": _local_time,
        "picture_path": picture_path,
        "at_width": at_width,
        "look": looks.chosen(),
        "purse": orders.views_member.purse,
    }
