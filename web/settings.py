"""Settings: read once from the environment, typed, each with a default that works in development.

Every setting has a heading in docs/operations.md (tests/house). Production refuses to start unsafely.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kernel import logs

ROOT = Path(__file__).resolve().parent.parent
INSTANCE = ROOT / "instance"
DEVELOPMENT_KEY = "development-only-secret-key"  # refused in production

NAMES = (
    "HUIGONG_ENV",
    "SECRET_KEY",
    "DATABASE_URL",
    "HUIGONG_REPLICA_URL",
    "HUIGONG_TRANSACTION_POOLING",
    "HUIGONG_PAYMENT_SECONDS",
    "HUIGONG_MAX_UNPAID_ORDERS",
    "HUIGONG_SANDBOX",
    "HUIGONG_SHOW_CODES",
    "HUIGONG_SECURE_COOKIES",
    "HUIGONG_TRUSTED_PROXIES",
    "HUIGONG_BANK_ACCOUNT",
    "HUIGONG_METRICS_TOKEN",
    "HUIGONG_STAFF_BY_CODE",
    "HUIGONG_SMS_GATEWAY",
    "HUIGONG_MAIL",
    "HUIGONG_QUIET_HOURS",
    "HUIGONG_OIDC",
    "HUIGONG_CODES_PER_PHONE",
    "HUIGONG_TRIES_PER_ADDRESS",
    "HUIGONG_EXPORTS_PER_PERSON",
    "HUIGONG_SESSION_IDLE_SECONDS",
    "HUIGONG_SESSION_SECONDS",
    "HUIGONG_STAFF_IDLE_SECONDS",
    "HUIGONG_STAFF_SECONDS",
    "HUIGONG_SECOND_PERSON_FEN",
    "HUIGONG_REFUND_REPLY_SECONDS",
    "HUIGONG_STRIPE_SECRET_KEY",
    "HUIGONG_STRIPE_WEBHOOK_SECRET",
    "HUIGONG_STRIPE_API_BASE",
    "HUIGONG_STRIPE_SECONDS",
    "HUIGONG_SHIP_SECONDS",
    "HUIGONG_WEBHOOK_PRIVATE",
    "HUIGONG_FILES",
    "HUIGONG_BUCKET_ENDPOINT",
    "HUIGONG_BUCKET_KEY",
    "HUIGONG_BUCKET_SECRET",
    "HUIGONG_BUCKET_REGION",
    "HUIGONG_ON_TWO_ROSTERS",
    "HUIGONG_YEARLY_CAP_FEN",
    "HUIGONG_OVER_YEARLY_CAP",
    "HUIGONG_INVOICES_PER_ORDER",
    "HUIGONG_CATALOG_SECONDS",
    "HUIGONG_IMPORT_MEGABYTES",
    "HUIGONG_ANSWER_SECONDS",
    "HUIGONG_WORDS_PER_PERSON",
    "HUIGONG_LOG_FORMAT",
    "HUIGONG_LOG_LEVEL",
    "HUIGONG_WAIT_MILLISECONDS",
    "HUIGONG_STATEMENT_SECONDS",
    "HUIGONG_LOCK_SECONDS",
    "HUIGONG_IDLE_TRANSACTION_SECONDS",
    "HUIGONG_CONNECT_SECONDS",
    "HUIGONG_POOL_SIZE",
    "HUIGONG_POOL_OVERFLOW",
    "HUIGONG_POOL_SECONDS",
    "HUIGONG_DRAIN_SECONDS",
    "WEB_CONCURRENCY",
    "PORT",
)


class UnsafeSetting(Exception):
    """A setting that production refuses, by name."""


@dataclass(frozen=True)
class Settings:
    """All settings. `payment_seconds` is the time an order waits for payment."""

    environment: str = "development"
    secret_key: str = DEVELOPMENT_KEY
    database_url: str = ""
    replica_url: str = ""
    transaction_pooling: bool = False
    payment_seconds: int = 1800
    max_unpaid: int = 3
    sandbox: bool = True
    show_codes: bool = True
    secure_cookies: bool = False
    trusted_proxies: int = 0
    bank_account: dict[str, str] = field(default_factory=dict)
    metrics_token: str = ""
    staff_by_code: bool = True
    sms_gateway: str = ""
    mail: str = ""
    quiet_minutes: tuple[int, int] = (21 * 60, 8 * 60)
    oidc: tuple[dict[str, str], ...] = ()
    codes_per_phone: int = 10
    tries_per_address: int = 600
    exports_per_person: int = 60
    session_idle_seconds: int = 7 * 86400
    session_seconds: int = 30 * 86400
    staff_idle_seconds: int = 3600
    staff_seconds: int = 12 * 3600
    second_person_fen: int = 20_000_000
    refund_reply_seconds: int = 3 * 86400
    stripe_secret_key: str = ""
    stripe_webhook_secret: str = ""
    stripe_api_base: str = ""
    stripe_seconds: float = 15
    ship_seconds: int = 3 * 86400
    webhook_private: bool = True
    files: str = str(INSTANCE / "files")
    bucket_endpoint: str = ""
    bucket_key: str = ""
    bucket_secret: str = ""
    bucket_region: str = "us-east-1"
    on_two_rosters: str = "warn"
    yearly_cap_fen: int = 0
    over_yearly_cap: str = "warn"
    invoices_per_order: int = 3
    catalog_seconds: int = 0
    import_megabytes: int = 200
    answer_seconds: int = 86400
    words_per_person: int = 30
    log_format: str = "text"
    log_level: str = "info"
    wait_milliseconds: int = 10_000
    statement_seconds: int = 30
    lock_seconds: int = 20
    idle_transaction_seconds: int = 60
    connect_seconds: int = 5
    pool_size: int = 5
    pool_overflow: int = 5
    pool_seconds: int = 10
    drain_seconds: int = 0

    @property
    def production(self) -> bool:
        """Whether every safety is on."""
        return self.environment == "production"

    @property
    def member_providers(self) -> tuple[str, ...]:
        """How members can pay."""
        offered = {"stripe": bool(self.stripe_secret_key), "sandbox": self.sandbox}
        return tuple(name for name, on in offered.items() if on)

    @property
    def union_providers(self) -> tuple[str, ...]:
        """How unions can pay."""
        return ("bank_transfer", *self.member_providers)


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings; raise UnsafeSetting naming the one that is wrong or that production refuses."""
    environment = environ.get("HUIGONG_ENV", "development")
    if environment not in ("development", "production"):
        raise UnsafeSetting("HUIGONG_ENV must be 'development' or 'production'")
    production = environment == "production"
    settings = Settings(
        environment=environment,
        secret_key=environ.get("SECRET_KEY", "" if production else DEVELOPMENT_KEY),
        database_url=_database_url(environ.get("DATABASE_URL", "")),
        replica_url=_replica_url(environ.get("HUIGONG_REPLICA_URL", "")),
        transaction_pooling=_switch(environ, "HUIGONG_TRANSACTION_POOLING", False),
        payment_seconds=_whole(environ, "HUIGONG_PAYMENT_SECONDS", 1800, least=1),
        max_unpaid=_whole(environ, "HUIGONG_MAX_UNPAID_ORDERS", 3, least=1),
        sandbox=_switch(environ, "HUIGONG_SANDBOX", not production),
        show_codes=_switch(environ, "HUIGONG_SHOW_CODES", not production),
        secure_cookies=_switch(environ, "HUIGONG_SECURE_COOKIES", production),
        trusted_proxies=_whole(environ, "HUIGONG_TRUSTED_PROXIES", 0, least=0),
        bank_account=_bank_account(environ.get("HUIGONG_BANK_ACCOUNT", "")),
        metrics_token=environ.get("HUIGONG_METRICS_TOKEN", ""),
        staff_by_code=_switch(environ, "HUIGONG_STAFF_BY_CODE", not production),
        sms_gateway=_sms_gateway(_text_or_file(environ, "HUIGONG_SMS_GATEWAY")),
        mail=_mail(_text_or_file(environ, "HUIGONG_MAIL")),
        quiet_minutes=_quiet(environ.get("HUIGONG_QUIET_HOURS", "21:00-08:00")),
        oidc=_providers(_text_or_file(environ, "HUIGONG_OIDC")),
        codes_per_phone=_whole(environ, "HUIGONG_CODES_PER_PHONE", 10, least=1),
        tries_per_address=_whole(environ, "HUIGONG_TRIES_PER_ADDRESS", 600, least=1),
        exports_per_person=_whole(environ, "HUIGONG_EXPORTS_PER_PERSON", 60, least=1),
        session_idle_seconds=_whole(environ, "HUIGONG_SESSION_IDLE_SECONDS", 7 * 86400, least=60),
        session_seconds=_whole(environ, "HUIGONG_SESSION_SECONDS", 30 * 86400, least=60),
        staff_idle_seconds=_whole(environ, "HUIGONG_STAFF_IDLE_SECONDS", 3600, least=60),
        staff_seconds=_whole(environ, "HUIGONG_STAFF_SECONDS", 12 * 3600, least=60),
        second_person_fen=_whole(environ, "HUIGONG_SECOND_PERSON_FEN", 20_000_000, least=0),
        refund_reply_seconds=_whole(environ, "HUIGONG_REFUND_REPLY_SECONDS", 3 * 86400, least=60),
        stripe_secret_key=environ.get("HUIGONG_STRIPE_SECRET_KEY", "").strip(),
        stripe_webhook_secret=environ.get("HUIGONG_STRIPE_WEBHOOK_SECRET", "").strip(),
        stripe_api_base=environ.get("HUIGONG_STRIPE_API_BASE", "").strip().rstrip("/"),
        stripe_seconds=_whole(environ, "HUIGONG_STRIPE_SECONDS", 15, least=1),
        ship_seconds=_whole(environ, "HUIGONG_SHIP_SECONDS", 3 * 86400, least=60),
        webhook_private=_switch(environ, "HUIGONG_WEBHOOK_PRIVATE", not production),
        files=environ.get("HUIGONG_FILES", "") or str(INSTANCE / "files"),
        bucket_endpoint=environ.get("HUIGONG_BUCKET_ENDPOINT", ""),
        bucket_key=environ.get("HUIGONG_BUCKET_KEY", ""),
        bucket_secret=environ.get("HUIGONG_BUCKET_SECRET", ""),
        bucket_region=environ.get("HUIGONG_BUCKET_REGION", "") or "us-east-1",
        on_two_rosters=_verdict(environ, "HUIGONG_ON_TWO_ROSTERS"),
        yearly_cap_fen=_whole(environ, "HUIGONG_YEARLY_CAP_FEN", 0, least=0),
        over_yearly_cap=_verdict(environ, "HUIGONG_OVER_YEARLY_CAP"),
        invoices_per_order=_whole(environ, "HUIGONG_INVOICES_PER_ORDER", 3, least=1),
        catalog_seconds=_whole(environ, "HUIGONG_CATALOG_SECONDS", 1 if production else 0, least=0),
        import_megabytes=_whole(environ, "HUIGONG_IMPORT_MEGABYTES", 200, least=1),
        answer_seconds=_whole(environ, "HUIGONG_ANSWER_SECONDS", 86400, least=60),
        words_per_person=_whole(environ, "HUIGONG_WORDS_PER_PERSON", 30, least=1),
        log_format=_one_of(environ, "HUIGONG_LOG_FORMAT", ("json", "text"), logs.chosen(environ)[0]),
        log_level=_one_of(environ, "HUIGONG_LOG_LEVEL", logs.LEVELS, "info"),
        wait_milliseconds=_whole(environ, "HUIGONG_WAIT_MILLISECONDS", 3000 if production else 10_000, least=0),
        statement_seconds=_whole(environ, "HUIGONG_STATEMENT_SECONDS", 30, least=0),
        lock_seconds=_whole(environ, "HUIGONG_LOCK_SECONDS", 20, least=1),
        idle_transaction_seconds=_whole(environ, "HUIGONG_IDLE_TRANSACTION_SECONDS", 60, least=0),
        connect_seconds=_whole(environ, "HUIGONG_CONNECT_SECONDS", 5, least=1),
        pool_size=_whole(environ, "HUIGONG_POOL_SIZE", 5, least=1),
        pool_overflow=_whole(environ, "HUIGONG_POOL_OVERFLOW", 5, least=0),
        pool_seconds=_whole(environ, "HUIGONG_POOL_SECONDS", 10, least=1),
        drain_seconds=_whole(environ, "HUIGONG_DRAIN_SECONDS", 0, least=0),
    )
    if production:
        _refuse_unsafe(settings, environ)
    return settings


def _refuse_unsafe(settings: Settings, environ: Mapping[str, str]) -> None:
    key = settings.secret_key
    if len(key) < 32 or len(set(key)) < 10 or key == DEVELOPMENT_KEY:
        raise UnsafeSetting("SECRET_KEY must be set to at least 32 random characters in production")
    if settings.sandbox:
        raise UnsafeSetting("HUIGONG_SANDBOX: the sandbox cashier must be off in production")
    if settings.show_codes:
        raise UnsafeSetting("HUIGONG_SHOW_CODES: one-time codes must not be shown in production")
    if settings.staff_by_code:
        raise UnsafeSetting("HUIGONG_STAFF_BY_CODE: a one-time code must not open a seat in production")
    if environ.get("FLASK_DEBUG", "0").lower() not in ("", "0", "false", "no"):
        raise UnsafeSetting("FLASK_DEBUG: debugging must be off in production")
    if any(not provider["issuer"].startswith("https://") for provider in settings.oidc):
        raise UnsafeSetting("HUIGONG_OIDC: an identity provider must be reached by https in production")
    if settings.sms_gateway and not json.loads(settings.sms_gateway)["url"].startswith("https://"):
        raise UnsafeSetting("HUIGONG_SMS_GATEWAY: the gateway must be reached by https in production")
    if settings.mail and json.loads(settings.mail).get("tls", "starttls") == "none":
        raise UnsafeSetting("HUIGONG_MAIL: the mail server must be reached by tls or starttls in production")
    if settings.stripe_secret_key and not settings.stripe_webhook_secret:
        raise UnsafeSetting("HUIGONG_STRIPE_WEBHOOK_SECRET: without it nobody could tell us that Stripe was paid")
    if settings.stripe_webhook_secret and not settings.stripe_secret_key:
        raise UnsafeSetting("HUIGONG_STRIPE_SECRET_KEY: without it no payment could be started and none sent back")
    if settings.stripe_api_base:
        raise UnsafeSetting("HUIGONG_STRIPE_API_BASE: production talks to Stripe itself")
    if not settings.secure_cookies:
        raise UnsafeSetting("HUIGONG_SECURE_COOKIES: cookies must be secure in production")


def _whole(environ: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = environ.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise UnsafeSetting(f"{name} must be a whole number of at least {least}")
    return int(text)


def _verdict(environ: Mapping[str, str], name: str) -> str:
    return _one_of(environ, name, ("warn", "refuse"), "warn")


def _one_of(environ: Mapping[str, str], name: str, known: tuple[str, ...], default: str) -> str:
    text = environ.get(name, default).lower()
    if text not in known:
        raise UnsafeSetting(f"{name} must be {' or '.join(map(repr, known))}")
    return text


def _switch(environ: Mapping[str, str], name: str, default: bool) -> bool:
    text = environ.get(name, "1" if default else "0").lower()
    if text not in ("0", "1", "true", "false", "yes", "no", "on", "off"):
        raise UnsafeSetting(f"{name} must be 1 or 0")
    return text in ("1", "true", "yes", "on")


def _text_or_file(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name, "").strip()
    if not text or text[0] in "[{":
        return text
    try:
        return Path(text).read_text(encoding="utf-8")
    except OSError as missing:
        raise UnsafeSetting(f"{name} names a file that cannot be read: {missing}") from None


def _sms_gateway(text: str) -> str:
    if not text:
        return ""
    try:
        if not isinstance(json.loads(text)["url"], str):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise UnsafeSetting("HUIGONG_SMS_GATEWAY must be a JSON object with at least 'url'") from None
    return text


def _mail(text: str) -> str:
    if not text:
        return ""
    try:
        said = json.loads(text)
        fits = all(isinstance(said[name], str) and said[name] for name in ("host", "from"))
        fits = fits and said.get("tls", "starttls") in ("starttls", "tls", "none")
        if not fits or not 0 < int(said.get("port", 587)) < 65536:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise UnsafeSetting(
            "HUIGONG_MAIL must be a JSON object with 'host' and 'from', and 'tls' one of starttls, tls, none"
        ) from None
    return text


def _quiet(text: str) -> tuple[int, int]:
    """Return the minutes of the day quiet hours begin and end at; '' is no quiet hours."""
    if not text.strip():
        return 0, 0
    found = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])", text.strip(), re.ASCII)
    if found is None:
        raise UnsafeSetting("HUIGONG_QUIET_HOURS must look like 21:00-08:00, or be empty")
    begins, begins_at, ends, ends_at = (int(part) for part in found.groups())
    return begins * 60 + begins_at, ends * 60 + ends_at


def _providers(text: str) -> tuple[dict[str, str], ...]:
    if not text:
        return ()
    needed = {"slug", "name", "union_code", "issuer", "client_id", "client_secret"}
    try:
        listed = json.loads(text)
        providers = tuple({"claim": "phone_number", **provider} for provider in listed)
        whole = all(needed <= provider.keys() and provider["slug"].isalnum() for provider in providers)
        if not isinstance(listed, list) or not whole:
            raise ValueError
    except (ValueError, TypeError, AttributeError):
        raise UnsafeSetting(f"HUIGONG_OIDC must be a JSON list of objects with {', '.join(sorted(needed))}") from None
    return providers


def _bank_account(text: str) -> dict[str, str]:
    name, bank, number = (text.split("|") + ["", "", ""])[:3]
    if not text:
        name, bank, number = "青岛市崂山区总工会（演示）", "演示银行崂山支行", "0000 0000 0000 0000"
    return {"name": name, "bank": bank, "number": number}


def _database_url(text: str) -> str:
    if not text:
        return f"sqlite:///{INSTANCE / 'huigong.db'}"
    for plain in ("postgres://", "postgresql://"):
        if text.startswith(plain):
            return "postgresql+psycopg://" + text.removeprefix(plain)
    return text


def _replica_url(text: str) -> str:
    if text and not _database_url(text).startswith("postgresql"):
        raise UnsafeSetting("HUIGONG_REPLICA_URL must be a PostgreSQL address")
    return _database_url(text) if text else ""
