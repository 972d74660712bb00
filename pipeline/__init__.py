"""The two stages, `pipeline.build` and `pipeline.train`, and what surrounds them."""
