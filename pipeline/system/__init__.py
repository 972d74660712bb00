"""The machine: threads, memory, devices, processes and Dask."""
