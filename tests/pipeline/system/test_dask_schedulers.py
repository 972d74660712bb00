import os

import pytest

from pipeline.system import dask_schedulers as schedulers

pytest.importorskip("distributed")


@pytest.mark.parametrize(
    ("parent", "count", "expected"),
    [
        (None, 2, ["0", "1", "0"]),
        ("3,1", 2, ["3", "1", "3"]),
        ("GPU-8a, 2", 2, ["GPU-8a", "2", "GPU-8a"]),
        ("5,-1,2", 1, ["5", "5", "5"]),  # CUDA stops at the first number that is none
        ("", 0, [None, None, None]),
    ],
)
def test_processes_share_the_gpus_that_the_parent_may_use(
    monkeypatch: pytest.MonkeyPatch, parent: str | None, count: int, expected: list[str | None]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.setattr("distributed.deploy.spec.SpecCluster", lambda workers, **more: workers)
    if parent is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", parent)
    workers = schedulers.local_cluster(3).values()
    assert [own["options"]["env"].get("CUDA_VISIBLE_DEVICES") for own in workers] == expected


def test_a_worker_sees_one_of_the_gpus_that_the_parent_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from distributed import Client

    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    with schedulers.local_cluster(2) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        seen = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
    assert sorted(seen.values()) == ["1", "3"]
