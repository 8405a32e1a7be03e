"""Do the hosts agree about the time: leases, quiet periods and retries are times of the journal."""

from plugin.doctor.check import Check, fault, good

_MOST_S = 5.0


def clock_check(whose: str, their_time: float, our_time: float) -> Check:
    """Compare two clocks, in seconds since the epoch.

    Parameters
    ----------
    whose
        Of which service the first one is.
    their_time, our_time
        What both say.
    """
    name, skew_s = f"clock of {whose}", our_time - their_time
    if abs(skew_s) > _MOST_S:
        return fault(
            name,
            f"expected the clocks of all hosts to agree to {_MOST_S:.0f} s, found ours {abs(skew_s):.0f} s "
            f"{'ahead of' if skew_s > 0 else 'behind'} that of {whose}; run an NTP client on both hosts (timedatectl "
            "set-ntp true)",
        )
    return good(name, f"agrees to {_MOST_S:.0f} s")
