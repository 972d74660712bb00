"""Write stores: units, locks, staging folders and destinations."""
