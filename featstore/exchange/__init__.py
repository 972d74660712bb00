"""Exchange features with other tools: exports and folders of ``.npy`` files."""
