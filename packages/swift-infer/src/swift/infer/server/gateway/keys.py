"""API keys: who asks."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from swift.core.config.schema import ServerConfig
from swift.core.errors import ConfigError
from swift.infer.server.errors import ApiError

SCHEME = b"bearer "


class ApiKeys:
    """Names by key. Only digests are kept, and all of them are compared in constant time.

    Args:
        keys: name -> key; none: everybody may ask.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._digests = [(name, sha256(key.encode()).digest()) for name, key in keys.items()]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def name_of(self, authorization: bytes | None) -> str:
        """Whose key an Authorization header carries.

        Raises:
            ApiError: 401: no key, or an unknown one.
        """
        if authorization is None or not authorization.lower().startswith(SCHEME):
            raise _refusal("no API key was sent: add the header 'Authorization: Bearer KEY'")
        sent = sha256(authorization[len(SCHEME) :].strip()).digest()
        names = [name for name, digest in self._digests if hmac.compare_digest(digest, sent)]
        if not names:
            raise _refusal("the API key is not known: check it", code="invalid_api_key")
        return names[0]


def read_keys(config: ServerConfig) -> ApiKeys:
    """The keys of infer.api_keys and of the file that infer.api_keys_file names.

    Raises:
        ConfigError: the file cannot be read or holds no keys, a name or a key is there twice, or is empty.
    """
    keys = dict(config.api_keys)
    if config.api_keys_file is not None:
        for name, key in _read_file(Path(config.api_keys_file)).items():
            if name in keys:
                raise ConfigError(f"the API key {name!r} is in infer.api_keys and in its file: remove one")
            keys[name] = key
    by_key: dict[str, str] = {}
    for name, key in keys.items():
        if not key.strip() or key != key.strip():
            raise ConfigError(f"the API key {name!r} is empty, or begins or ends with a space: correct it")
        if key in by_key:
            raise ConfigError(f"{by_key[key]!r} and {name!r} have the same API key: give each its own")
        by_key[key] = name
    return ApiKeys(keys)


def _read_file(file: Path) -> dict[str, str]:
    import yaml

    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        # never the text of the error: it may quote the keys
        raise ConfigError(
            f"infer.api_keys_file {str(file)!r} cannot be read ({type(error).__name__})",
            "write one 'name: key' a line",
        ) from None
    if not isinstance(value, dict) or not value or not all(isinstance(key, str) for key in value.values()):
        raise ConfigError(
            f"infer.api_keys_file {str(file)!r} holds no keys", "write one 'name: \"key\"' a line"
        )
    return {str(name): key for name, key in value.items()}


def _refusal(message: str, code: str = "missing_api_key") -> ApiError:
    return ApiError(message, status=401, code=code, headers={"WWW-Authenticate": "Bearer"})
