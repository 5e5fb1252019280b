"""All settings of the hub. What differs between machines comes from the environment; README lists every variable."""

import atexit
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from hub.env import (
    database,
    env_addresses,
    env_bool,
    env_choice,
    env_int,
    env_list,
    env_rate,
    env_secret,
    kept_secret,
    mail,
)

# ── where things are ─────────────────────────────────────────────────────────────────────────────────────────────────

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION: str = tomllib.loads((BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

# pytest-django imports the settings before any conftest runs: tests must not write into a real home.
TESTING = "pytest" in sys.modules
PRIORHUB_HOME = Path(
    tempfile.mkdtemp(prefix="priorhub-test-") if TESTING else env_secret("PRIORHUB_HOME") or BASE_DIR / "var"
).resolve()
"""Everything a hub writes lies in here: database, blobs, broker, caches, secrets."""
if TESTING:
    atexit.register(shutil.rmtree, PRIORHUB_HOME, ignore_errors=True)

# ── the basics ───────────────────────────────────────────────────────────────────────────────────────────────────────

DEBUG = env_bool("DEBUG", False)
DATABASES = {"default": database(env_secret("DATABASE_URL") or f"sqlite:///{PRIORHUB_HOME / 'db.sqlite3'}")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, not memory: tests of races use several connections, and a shared memory database ignores the timeout.
    DATABASES["default"]["TEST"] = {"NAME": str(PRIORHUB_HOME / "test.sqlite3")}

SECRET_KEY = env_secret("SECRET_KEY") or ""
if not SECRET_KEY:
    if not DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. Machines that share a database must share it: set it on each."
        )
    SECRET_KEY = kept_secret(PRIORHUB_HOME / "secret_key")

HTTPS = env_bool("HTTPS", False)
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS", [])
ROOT_URLCONF = "hub.urls"
WSGI_APPLICATION = "hub.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE, USE_I18N, USE_TZ, TIME_ZONE = "en", False, True, "UTC"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "template_partials",
    "django_htmx",
    "csp",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "django.contrib.humanize",  # allauth's list of sessions
    "hub.accounts",
    "hub.repos",
    "hub.xet",
    "hub.safety",
    "hub.catalog",
    "hub.jobs",
    "hub.boards",
    "hub.api",
    "hub.wire",
    "hub.web",
    "hub.ops",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "hub.addresses.UndecodedPath",
    "csp.middleware.CSPMiddleware",
    "hub.accounts.middleware.PrivateAnswers",  # outside of sessions: it sees the cookie that a sign-in sets
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "hub.accounts.middleware.RateHeaders",
    "hub.accounts.middleware.AdminActs",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# ── accounts ─────────────────────────────────────────────────────────────────────────────────────────────────────────

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL, LOGIN_REDIRECT_URL, LOGOUT_REDIRECT_URL = "/login", "/", "/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

SIGNUP = env_choice("SIGNUP", ("closed", "invite", "open"))
"""Who may make an account: nobody but operators, whoever an administrator sends a link, or everybody."""
AUTHENTICATION_BACKENDS = ["hub.accounts.backends.OneCheck"]
ACCOUNT_ADAPTER, MFA_ADAPTER = "hub.accounts.adapter.Adapter", "hub.accounts.adapter.MFAAdapter"
ACCOUNT_FORMS = {"reset_password": "hub.accounts.adapter.CountedReset"}
MFA_FORMS = {
    "authenticate": "hub.accounts.adapter.CountedAuthenticate",
    "reauthenticate": "hub.accounts.adapter.CountedReauthenticate",
}
ACCOUNT_RATE_LIMITS = MFA_RATE_LIMITS = False  # hub/accounts/rates.py counts
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*"]
ACCOUNT_PREVENT_ENUMERATION = "strict"  # signing up with a known address looks as with an unknown one
ACCOUNT_CHANGE_EMAIL = True  # the old address stays until the new one is confirmed
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if HTTPS else "http"
ACCOUNT_SESSION_REMEMBER = True
PASSWORD_RESET_TIMEOUT = 3600
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True  # an account made by the operator has no address
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not HTTPS
MFA_TOTP_ISSUER, MFA_TOTP_TOLERANCE = "Priorhub", 1  # a phone's clock may be half a minute off
CACHES = {
    # allauth marks used one-time codes here, and all web processes have to know them.
    "default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache"}
}
globals().update(mail(env_secret("EMAIL_URL") or f"file://{PRIORHUB_HOME / 'mail'}"))
DEFAULT_FROM_EMAIL = env_secret("MAIL_FROM") or "Priorhub <priorhub@localhost>"
GATE_ANSWER_DAYS = env_int("GATE_ANSWER_DAYS", 14)
"""How long an owner has to answer who asks for a gated repository; then the request is shown as overdue."""

TRUSTED_PROXIES = env_int("TRUSTED_PROXIES", 1 if HTTPS else 0)
"""How many proxies stand before the hub and add to X-Forwarded-For: whose word counts for the caller's address."""
RATES = {
    "api": env_rate("RATE_API", "20000/300"),
    "login": env_rate("RATE_LOGIN", "10/300"),  # PyPI's numbers
    "reset": env_rate("RATE_RESET", "5/86400"),
    "create": env_rate("RATE_CREATE", "1000/3600"),
    "upload": env_rate("RATE_UPLOAD", "100000/3600"),
    "check": env_rate("RATE_CHECK", "600/300"),
}

# ── security headers ─────────────────────────────────────────────────────────────────────────────────────────────────

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
if HTTPS:
    # Of such a name browsers take cookies from this very host alone, over TLS: no sister domain can plant one.
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 365 * 24 * 3600

# ── static files: collected into the home by `up`, named by content, kept by browsers for a year ─────────────────────

STATIC_URL = "/static/"
STATIC_ROOT = PRIORHUB_HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = DEBUG or TESTING
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG or TESTING
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# ── uploads: bodies of blobs are streamed and never pass through these ───────────────────────────────────────────────

DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000

# ── blobs ────────────────────────────────────────────────────────────────────────────────────────────────────────────

STORAGE_URL = env_secret("STORAGE_URL") or f"file://{PRIORHUB_HOME / 'blobs'}"
if urlsplit(STORAGE_URL).scheme not in {"file", "s3"}:
    raise ImproperlyConfigured(f"STORAGE_URL={STORAGE_URL!r}: use file:///absolute/folder or s3://bucket/prefix.")
BLOB_MAX_BYTES = env_int("BLOB_MAX_BYTES", 16 * 1024**3)
ASSEMBLED_MAX_BYTES = env_int("ASSEMBLED_MAX_BYTES", 20 * 1024**3)
"""Size of the cache of whole files; the chunks they are made from do not count."""
ALLOW_PICKLE = env_bool("ALLOW_PICKLE", False)
"""Whether plain repositories may hold pickles. They are marked, never opened here, and never allowed in priors."""
STORAGE_QUOTA_BYTES = env_int("STORAGE_QUOTA_BYTES", 0)
"""What a namespace may store unless it has a quota of its own; 0: as much as the disk holds."""
BLOB_GRACE_SECONDS = env_int("BLOB_GRACE_SECONDS", 24 * 3600)
"""An unreferenced blob younger than this may belong to a commit that is on its way; `sweep` leaves it."""

HIDDEN_MAX_BYTES = env_int("HIDDEN_MAX_BYTES", 32 * 1024**2)
"""Of the hidden rows of a board, which lie sealed in the database."""

X_ACCEL_PREFIX = env_secret("X_ACCEL_PREFIX") or ""
"""Where an nginx in front finds the home, as an internal location; then it sends the files (docs/operations.md)."""

# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

BROKER_URL = env_secret("BROKER_URL") or "disk://"
JOB_HEARTBEAT_SECONDS = env_int("JOB_HEARTBEAT_SECONDS", 5)
JOB_DEAD_AFTER_SECONDS = env_int("JOB_DEAD_AFTER_SECONDS", 60)
JOB_MAX_ATTEMPTS = env_int("JOB_MAX_ATTEMPTS", 2)
BOARD_ADAPT_SECONDS = env_int("BOARD_ADAPT_SECONDS", 600)
"""What adapting the best single prior may take in all draws of a run on a board; beyond it that arm is left out."""
JOB_MAX_WATCHERS = env_int("JOB_MAX_WATCHERS", 16)
"""Each watcher of a job's events holds one web thread: fewer watchers than threads leaves room for requests."""

# ── importing from other hubs: these and no others, by the names people type ──────────────────────────────────────────

IMPORT_ENDPOINTS = env_addresses("IMPORT_ENDPOINTS", {"hf": "https://huggingface.co"})
IMPORT_ALLOW_PRIVATE = env_bool("IMPORT_ALLOW_PRIVATE", False)
"""Whether the endpoints themselves may be machines of this network. What they redirect to may not, in any case."""
IMPORT_MAX_BYTES = env_int("IMPORT_MAX_BYTES", 100 * 1024**3)

# ── logging: one line an event on stderr ─────────────────────────────────────────────────────────────────────────────

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env_secret("LOG_LEVEL") or "INFO"},
    "loggers": {
        "django": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
        "httpx": {"level": "WARNING"},  # a line a request
        "httpx2": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},  # at DEBUG what servers answer, which may repeat what they were sent
        "httpcore2": {"level": "WARNING"},
    },
}
