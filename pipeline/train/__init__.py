"""Stage two: from a store of features to a trained head. It opens no video."""
