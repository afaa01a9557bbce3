"""Secrets that must be read again are kept sealed: a stolen database alone does not open them."""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken


def seal(text: str, *, key: str, purpose: str) -> str:
    """Return `text` encrypted for a purpose under the installation's secret key."""
    return _box(key, purpose).encrypt(text.encode()).decode()


def unseal(sealed: str, *, key: str, purpose: str) -> str | None:
    """Return the text again; None where the key is another or the text was changed."""
    try:
        return _box(key, purpose).decrypt(sealed.encode()).decode()
    except InvalidToken:
        return None


def _box(key: str, purpose: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(f"{purpose}:{key}".encode()).digest()))
