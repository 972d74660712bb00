"""Stage one: from annotated videos to a sealed store of features."""
