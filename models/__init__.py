"""Neural networks only: backbones, temporal heads, losses. No files, no command line."""
