"""Where the project lies, wherever in `tests` a test is."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
