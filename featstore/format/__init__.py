"""How a store lies on the disk: Zarr, HDF5, codecs, checksums and their checks."""
