"""What a build is to make, found without torch and without decoding a frame."""
