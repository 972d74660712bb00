"""Features of clips: decode, normalise, and run the backbone."""
