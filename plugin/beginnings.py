"""Begin and end of a process in the audit log, and whether its settings have changed since it last began."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sgmri.audit import Action, AuditEvent, Auditor
from sgmri.settings import Settings
from worker.auditing.files import audit_dir, this_host


@contextmanager
def audited(audit: Auditor, settings: Settings, process: str, config: Path | None) -> Iterator[None]:
    """Record that a process runs for as long as the block does.

    Parameters
    ----------
    audit
        Who remembers what the process does: what is held back until it stops is written then.
    settings
        The configuration.
    process
        Its kind: listener, worker, dashboard.
    config
        The file of the settings; None for the defaults.

    Raises
    ------
    AuditUnavailable
        If the audit log cannot be written and must be.
    """
    digest = _digest(config, settings.selection.rules)
    audit(AuditEvent(action=Action.START, who=process, detail=digest))
    last = audit_dir(settings) / this_host() / f"settings-{process}"
    before = last.read_text(encoding="ascii") if last.exists() else ""
    if digest != before:
        if before:
            audit(AuditEvent(action=Action.CONFIGURE, who=process, detail=f"before: {before}"))
        last.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        last.write_text(digest, encoding="ascii")
    try:
        yield
    finally:
        audit(AuditEvent(action=Action.STOP, who=process))


def _digest(config: Path | None, rules: str) -> str:
    """Return the SHA-256 of the settings file and of the site's rules, as ``sha256sum`` prints them."""
    files = {"settings": config, "rules": Path(rules) if rules else None}
    return ", ".join(
        f"{name} {hashlib.sha256(path.read_bytes()).hexdigest() if path else 'built-in'}"
        for name, path in files.items()
    )
