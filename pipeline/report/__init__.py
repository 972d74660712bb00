"""Reports of runs: Markdown, tables and figures."""
