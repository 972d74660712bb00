"""Import features from other tools into a store."""
