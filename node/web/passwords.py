"""Passwords: argon2id hashes, never the password (RFC 9106, the library's second recommended setting)."""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash("nobody has this password")


def hash_password(password: str) -> str:
    """The hash for ``web.users``."""
    return _HASHER.hash(password)


def password_fits(stored_hash: str | None, password: str) -> bool:
    """Whether the password is right; an unknown user (``None``) takes as long as a known one."""
    try:
        _HASHER.verify(stored_hash or _NOBODY, password)
    except (VerificationError, InvalidHashError):
        return False
    return stored_hash is not None
