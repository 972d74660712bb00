"""Features from other tools, and for them: exports and folders of ``.npy`` files."""
