"""The broker: is it there, does it keep what it is given, and is it ours alone."""

from collections.abc import Callable, Iterator
from typing import Any

from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from plugin.doctor.check import Check, fault, good, note
from plugin.doctor.clocks import clock_check
from plugin.doctor.secrets import is_weak
from sgmri.setting_keys import is_loopback
from sgmri.settings import Settings

_ASK_S = 2.0
_ANSWERS = "answers"


def broker(settings: Settings, clock: Callable[[], float]) -> Iterator[Check]:
    """Check the broker; ``clock`` gives seconds since the epoch."""
    try:
        client = Redis.from_url(
            settings.broker.url, socket_timeout=_ASK_S, socket_connect_timeout=_ASK_S, decode_responses=True
        )
    except ValueError:
        yield fault(
            "broker", "expected a URL such as redis://127.0.0.1:6379/0 in broker.url, found another; correct it"
        )
        return
    try:
        with client:
            told = client.info()
            yield from _kept(client, told)
            yield _access(client)
            seconds, microseconds = client.time()
            yield clock_check("the broker", seconds + microseconds / 1e6, clock())
    except (AuthenticationError, NoPermissionError) as error:
        yield fault(
            "broker",
            f"expected the broker to let us in, found {type(error).__name__}; check user and password of broker.url "
            "(or SGMRI_BROKER_URL)",
        )
    except (RedisError, OSError) as error:
        yield fault(
            "broker",
            f"expected a Redis or Valkey server at broker.url, found that it does not answer ({type(error).__name__}); "
            "start it, and check host, port and the firewall between",
        )


def _kept(client: "Redis", told: dict[str, Any]) -> Iterator[Check]:
    if told.get("role") in ("slave", "replica"):
        yield fault("broker", "expected a server that can be written, found a replica; name the primary in broker.url")
        return
    if told.get("loading"):
        yield note("broker", "it is loading its data; ask again")
    yield good("broker", _ANSWERS)
    failed = [key for key in ("aof_last_write_status", "rdb_last_bgsave_status") if told.get(key, "ok") != "ok"]
    if failed:
        yield fault(
            "broker persistence",
            f"expected the broker to write its files, found {', '.join(failed)} in error; free its disk and look at "
            "its log",
        )
    elif not told.get("aof_enabled") and _configured(client, "save") == "":
        yield fault(
            "broker persistence",
            "expected the broker to keep its messages over a restart, found neither append-only file nor snapshots; "
            "set appendonly yes",
        )
    policy = str(told.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        yield fault(
            "broker eviction",
            f"expected maxmemory-policy noeviction, found {policy}, by which messages vanish when memory is short; set "
            "it in redis.conf, or with CONFIG SET",
        )


def _access(client: "Redis") -> Check:
    given = client.connection_pool.connection_kwargs
    host, password = given.get("host"), given.get("password")
    if is_weak(host, password):
        return fault(
            "broker access",
            "expected a password of its own for a broker that others can reach, found none or one that anybody would "
            "try; set requirepass in redis.conf, and the same in SGMRI_BROKER_URL",
        )
    open_to = [one for one in (_configured(client, "bind") or "").split() if not is_loopback(one.lstrip("-"))]
    if host and not password and open_to and _configured(client, "protected-mode") == "no":
        return fault(
            "broker access",
            f"expected a broker without password on the loopback address alone, found it on {' '.join(open_to)}; set "
            "bind 127.0.0.1 or requirepass in redis.conf",
        )
    return good("broker access", "ours alone, as far as can be seen from here")


def _configured(client: "Redis", key: str) -> str | None:
    """Return a setting of the server; None where it does not tell."""
    try:
        found = client.config_get(key)
    except ResponseError:
        return None
    return None if key not in found else str(found[key])
