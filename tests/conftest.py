import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tests run side by side: one thread each is faster than all threads for all. Read when torch is
# imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

BUCKET = "bucket"
PATIENCE = 60


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty bucket on an S3 server of its own, which the environment leads to."""
    log = tmp_path_factory.mktemp("s3") / "log"
    with log.open("wb") as stream, pytest.MonkeyPatch.context() as environment:
        # Port 0: the system chooses a free one, and the log says which.
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        server = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=log.parent)
        try:
            for name, value in {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{_port(server, log)}",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
                "no_proxy": "127.0.0.1",
            }.items():
                environment.setenv(name, value)
            import s3fs

            s3fs.S3FileSystem().mkdir(BUCKET)
            yield f"s3://{BUCKET}"
        finally:
            server.terminate()
            server.wait(PATIENCE)


def _port(server: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        if found := re.search(rb"Running on http://127\.0\.0\.1:(\d+)", log.read_bytes()):
            return found[1].decode()
        time.sleep(0.05)
    raise RuntimeError(f"moto_server did not start: {log.read_text()}")
