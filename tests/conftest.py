import os

# Tests run side by side: one thread each is faster than all threads for all. Read when torch is
# imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
