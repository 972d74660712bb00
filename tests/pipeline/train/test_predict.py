import numpy as np
import pytest
import torch
from torch.nn import functional

from featstore.errors import InputError
from models.heads import RecurrentHead
from pipeline.metrics.predictions import Predictions, attention_entropy
from pipeline.train.data.feed import Feed
from pipeline.train.predict import predict, refuse_non_finite
from tests.fakes import ordered_store

CPU = torch.device("cpu")


def head_of(pool: str) -> RecurrentHead:
    torch.manual_seed(0)
    return RecurrentHead(6, 2, bidirectional=True, hidden=4, pool=pool, dropout=0.5)  # type: ignore[arg-type]


def test_predictions_do_not_depend_on_the_batch() -> None:
    store, head = ordered_store(30), head_of("attention")
    clips = np.arange(30)
    one = predict(head, Feed(store, CPU), clips, batch_size=1)
    many = predict(head, Feed(store, CPU), clips, batch_size=8)
    np.testing.assert_allclose(one.log_probabilities, many.log_probabilities, atol=1e-5)
    assert [len(a) for a in many.attention] == store.row_size.tolist()
    for a, b in zip(one.attention, many.attention, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_predictions_equal_plain_torch() -> None:
    store, head = ordered_store(10), head_of("mean")
    got = predict(head, Feed(store, CPU, steps=5), np.array([7, 2]), batch_size=4)
    batch = store.batch(np.array([7, 2]), 5)
    logits = head(torch.from_numpy(batch.features), torch.from_numpy(batch.mask)).logits
    expected = functional.cross_entropy(logits, torch.from_numpy(batch.labels)).item()
    assert got.loss == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(got.probability, logits.softmax(1).amax(1).detach(), rtol=1e-5)
    assert got.predicted.tolist() == logits.argmax(1).tolist()
    assert got.attention is None


def test_no_clips() -> None:
    feed = Feed(ordered_store(10), CPU, steps=5)
    got = predict(head_of("attention"), feed, np.array([], int), batch_size=4)
    assert np.isnan(got.loss)
    assert got.metrics.clips == 0


def test_logits_that_are_not_finite_are_refused_with_the_clips_and_the_reason() -> None:
    store = ordered_store(30)
    clips = store.split("test")
    logs = np.full((len(clips), 2), np.log(0.5))
    found = Predictions(
        clips=clips, labels=store.labels[clips], log_probabilities=logs, attention=None
    )
    refuse_non_finite(found, store)
    logs[2] = np.nan
    name = store.clip_ids[clips[2]]
    with pytest.raises(InputError, match=rf"1 of 6 test clips \({name}\).*train\.lr"):
        refuse_non_finite(found, store)
    store[int(clips[2])][0, 0] = np.inf
    with pytest.raises(InputError, match=rf"1 of 6 test clips \({name}\).*verify"):
        refuse_non_finite(found, store)


def test_attention_entropy() -> None:
    uniform, sharp = np.full(5, 0.2, np.float32), np.array([1, 0, 0], np.float32)
    assert attention_entropy([uniform]) == pytest.approx(1)
    assert attention_entropy([sharp]) == pytest.approx(0)
    assert attention_entropy([uniform, sharp, np.ones(1, np.float32)]) == pytest.approx(0.5)
    assert np.isnan(attention_entropy([np.ones(1, np.float32)]))
