"""What `make docs` adds to the pages: the reference of commands, and pages that lie elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = ("benchmarks/README.md",)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages that are not in docs/."""
    files.append(File.generated(config, "reference/commands.md", content=commands()))
    for name in ELSEWHERE:
        files.append(File.generated(config, name, content=(ROOT / name).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make links of the repository links of the site, where pages from elsewhere are in docs/."""
    if page.file.src_uri in ELSEWHERE:
        return markdown.replace("](../docs/", "](../")
    return re.sub(rf"\]\(\.\./({'|'.join(map(re.escape, ELSEWHERE))})", r"](\1", markdown)


def commands() -> str:
    """Return the page of all commands, from the command line itself."""
    sys.path.insert(0, str(ROOT))
    from pipeline.cli import SECTIONS, main
    from pipeline.sources import sources

    lines = ["# Commands", "", "What `featstore COMMAND --help` prints.", ""]
    for title, members in SECTIONS.items():
        lines += [f"## {title}", ""]
        for command in members:
            lines += [f"### {command.name}", "", "```text", _help(main, command), "```", ""]
    lines += ["## Flags of each source", ""]
    for name in sources():
        lines += [f"### {name}", "", "```text", _source_help(main, name), "```", ""]
    return "\n".join(lines)


def _help(main: click.Group, command: click.Command) -> str:
    parent = click.Context(main, info_name="featstore", terminal_width=96)
    context = click.Context(command, info_name=command.name, parent=parent, terminal_width=96)
    return command.get_help(context).rstrip()


def _source_help(main: click.Group, source: str) -> str:
    """Return the flags that a source has."""
    from pipeline.cli.help import SOURCE, SourceOption

    build = main.commands["build"]
    context = click.Context(build, info_name="build", terminal_width=96)
    context.meta[SOURCE] = source
    formatter = context.make_formatter()
    records = [
        record
        for option in build.params
        if isinstance(option, SourceOption) and (record := option.get_help_record(context))
    ]
    formatter.write_dl(records)
    return formatter.getvalue().rstrip()
