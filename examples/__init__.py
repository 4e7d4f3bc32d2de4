"""Photos for a first try, with their credits in CREDITS.md."""
