"""Features that other tools extracted, brought into a store."""
