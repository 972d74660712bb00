"""Videos: their time stamps, their content hash, their pixels."""
