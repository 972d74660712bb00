"""The two stages and what surrounds them: sources, video, statistics, build, train, report."""
