"""What ``config.json`` says about a run, as names and values to show."""

from typing import Any

CONVERSION = ("file", "sha256", "layout", "heads", "licence")  # of what config.json says of converted weights


def settings_of(description: dict[str, Any]) -> list[tuple[str, str]]:
    """List what ``config.json`` says about a run.

    Args:
        description: Content of the file.

    Returns:
        Names and values to show.
    """
    config, data = part(description, "config"), part(description, "data")
    device, versions = part(description, "device"), part(description, "versions")
    roots, started = data.get("roots"), description.get("started") if isinstance(description, dict) else None
    pairs = [
        ("Images", number(data.get("images"))),
        ("From", ", ".join(map(str, roots)) if isinstance(roots, list) else None),
        ("Device", device.get("name") or device.get("type")),
        ("Started", moment(started)),
        *((name.replace("_", " ").capitalize(), number(value)) for name, value in config.items()),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return [(name, str(value)) for name, value in pairs if value not in (None, "")]


def conversion_of(description: dict[str, Any]) -> list[tuple[str, str]]:
    """List where the weights of a converted run are from.

    Args:
        description: Content of ``config.json``.

    Returns:
        Names and values to show; empty for any other run.
    """
    facts = part(description, "converted")
    return [(name.capitalize(), str(facts[name])) for name in CONVERSION if facts.get(name)]


def epochs_of(description: dict[str, Any]) -> int | None:
    """Return the number of epochs that a run was started for.

    Args:
        description: Content of ``config.json``.

    Returns:
        The number; None if it is not there.
    """
    epochs = part(description, "config").get("epochs")
    return epochs if isinstance(epochs, int) else None


def part(description: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a part of ``config.json``.

    Args:
        description: Content of the file.
        key: Name of the part.

    Returns:
        The part; empty if it is missing or no dictionary.
    """
    value = description.get(key) if isinstance(description, dict) else None
    return value if isinstance(value, dict) else {}


def number(value: Any) -> str | None:
    """Format a value.

    Args:
        value: The value; integers get thousands separators.

    Returns:
        The text; None for None.
    """
    if value is None:
        return None
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def moment(text: Any) -> str | None:
    """Format a time.

    Args:
        text: ISO 8601.

    Returns:
        Date, hour and minute; None without a time.
    """
    return str(text)[:16].replace("T", " ") if text else None
