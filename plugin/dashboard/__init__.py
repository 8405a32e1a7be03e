"""The dashboard: server-rendered pages for those who operate the plug-in and look at its readings (ADR 0028)."""

from plugin import extras


def require_libraries() -> None:
    """Raise :class:`sgmri.errors.ConfigError` where the dashboard's libraries, an extra, are not installed."""
    libraries = (
        "starlette",
        "uvicorn",
        "jinja2",
        "python_multipart",
        "itsdangerous",
        "argon2",
        "authlib",
        "limits",
        "zxcvbn",
    )
    extras.require(libraries, purpose="dashboard", extra="dashboard")
