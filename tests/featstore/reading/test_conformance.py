"""What a store promises, at every place and in every format."""

import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest

import featstore
from featstore.format import rows as rows_module
from featstore.format import schema
from featstore.format import shuffle as blocks
from featstore.format.rows import DecodedRows, MappedRows
from featstore.reading.stream import resampled
from tests.featstore.places import PLACES, SIZES, STEPS, Place
from tests.stores import DIM, contents

OFFSETS = np.cumsum([0, *SIZES])
CLIPS = len(SIZES)


@pytest.fixture(scope="module", params=PLACES)
def place(request) -> Place:
    return PLACES[request.param]


@pytest.fixture(scope="module")
def where(place: Place, tmp_path_factory, request) -> Path | str:
    url = request.getfixturevalue("bucket") if place.remote else ""
    return place.make(tmp_path_factory.mktemp("store"), url)


@pytest.fixture
def store(where) -> featstore.Store:
    return featstore.open(where)


@pytest.fixture
def damaged(place: Place, tmp_path, request) -> Path | str:
    """A store of its own, of which the test flips a chunk."""
    return place.make(tmp_path, request.getfixturevalue("bucket") if place.remote else "")


@pytest.fixture(params=["one group", "small groups"])
def group_size(request, place: Place, monkeypatch) -> None:
    """Streams of decoded stores shuffle all, or a few chunks at once."""
    if request.param == "small groups":
        chunk = place.chunk_rows * DIM * place.codec.item_size
        # A clip of 59 steps reaches into 12 further chunks of 5 rows.
        monkeypatch.setattr(blocks, "GROUP_BYTES", chunk * (3 if place.chunk_rows > 5 else 40))
        monkeypatch.setattr(rows_module, "CACHE_BYTES", chunk * (7 if place.chunk_rows > 5 else 90))


def expected(place: Place, clip: int) -> np.ndarray:
    return place.expected[OFFSETS[clip] : OFFSETS[clip + 1]]


def test_it_is_mapped_where_it_can_be(place, store) -> None:
    assert isinstance(store.rows, MappedRows if place.mapped else DecodedRows)
    assert store.container.codec == place.codec
    assert store.dtype == place.codec.dtype


def test_features_bit_for_bit(place, store) -> None:
    assert len(store) == CLIPS
    assert store.dim == DIM
    for clip, found in enumerate(store):
        assert found.dtype == np.dtype(place.codec.dtype)
        assert found.tobytes() == expected(place, clip).tobytes()
    np.testing.assert_array_equal(store[-1], expected(place, CLIPS - 1))
    with pytest.raises(IndexError, match=f"{CLIPS}.*{CLIPS}"):
        store[CLIPS]


def test_float16_is_float32_rounded_to_the_nearest(place, store) -> None:
    exact = Place().expected
    rounded = np.concatenate(list(store)).astype(np.float64)
    # Half a unit in the last of 11 bits.
    bound = np.abs(exact) * 2.0**-11 if place.codec.dtype == "float16" else 0
    assert (np.abs(rounded - exact) <= bound).all()


def test_features_are_read_only(store) -> None:
    for clip in range(CLIPS):
        with pytest.raises(ValueError, match="read-only"):
            store[clip][0] = 0


def test_every_column(store) -> None:
    made = contents(SIZES)
    assert store.columns.keys() == schema.ARRAYS.keys()
    for name, values in made.columns.items():
        np.testing.assert_array_equal(store.columns[name], values)
        dtype = schema.ARRAYS[name][0]
        kind = store.columns[name].dtype
        assert kind.kind == "U" if dtype == "string" else kind == np.dtype(dtype)
    number = np.arange(CLIPS)
    assert store.classes == ("sit", "walk", "never")
    assert store.clip_ids.tolist() == [f"run/é{i}" for i in number]
    assert store.labels.tolist() == (number % 2).tolist()
    assert store.subjects.tolist() == [("ann", "bob", "cid")[i % 3] for i in number]
    assert store.splits.tolist() == [("train", "val", "test")[i % 3] for i in number]
    assert store.videos.tolist() == ["v.mp4"] * CLIPS
    assert store.start.tolist() == OFFSETS[:-1].tolist()
    assert store.stop.tolist() == OFFSETS[1:].tolist()
    assert store.row_size.tolist() == SIZES
    assert store.status.tolist() == [0] * CLIPS
    stated = {k: v for k, v in store.attributes.items() if not k.startswith("seal")}
    assert stated == made.attributes


def test_frames_and_times(store) -> None:
    for clip in range(CLIPS):
        steps = np.arange(OFFSETS[clip], OFFSETS[clip + 1])
        np.testing.assert_array_equal(store.frames(clip), steps * 3)
        np.testing.assert_array_equal(store.times(clip), steps / 10)


def test_split(store) -> None:
    for number, part in enumerate(schema.PARTS):
        assert store.split(part).tolist() == list(range(number, CLIPS, 3))
    with pytest.raises(ValueError, match="part is 'trian'"):
        store.split("trian")


def test_batches_are_padded(place, store) -> None:
    clips = np.array([7, 0, 39, 7])
    batch = store.batch(clips)
    longest = max(SIZES[clip] for clip in clips)
    assert batch.features.shape == (4, longest, DIM)
    assert batch.features.dtype == np.float32
    assert batch.clips.tolist() == clips.tolist()
    assert batch.labels.tolist() == (clips % 2).tolist()
    for features, mask, clip in zip(batch.features, batch.mask, clips, strict=True):
        assert mask.tolist() == [step < SIZES[clip] for step in range(longest)]
        np.testing.assert_array_equal(features[mask], expected(place, clip))
        assert (features[~mask] == 0).all()


def test_batches_of_one_length_and_of_none(place, store) -> None:
    batch = store.batch(np.array([3, 3]))
    np.testing.assert_array_equal(batch.features, np.stack([expected(place, 3)] * 2))
    assert batch.mask.all()
    assert store.batch(np.zeros(0, np.int64)).features.shape == (0, 0, DIM)
    assert store.batch(np.zeros(0, np.int64), steps=4).features.shape == (0, 4, DIM)


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_batches_are_resampled(place, store, steps: int) -> None:
    batch = store.batch(np.arange(CLIPS), steps)
    assert batch.features.dtype == np.float32
    assert batch.mask.all()
    for clip, features in enumerate(batch.features):
        index = resampled(SIZES[clip], steps)
        np.testing.assert_array_equal(features, expected(place, clip)[index])


@pytest.mark.usefixtures("group_size")
def test_stream_in_order(place, store) -> None:
    batches = list(store.stream(7))
    assert [len(batch.clips) for batch in batches] == [7, 7, 7, 7, 7, 5]
    assert [clip for batch in batches for clip in batch.clips.tolist()] == list(range(CLIPS))
    for batch in batches:
        for features, mask, clip in zip(batch.features, batch.mask, batch.clips, strict=True):
            np.testing.assert_array_equal(features[mask], expected(place, clip))
    backwards = [b.clips.tolist() for b in store.stream(20, clips=np.arange(CLIPS)[::-1])]
    assert backwards == [list(range(39, 19, -1)), list(range(19, -1, -1))]


def order(store, seed, **options) -> list[int]:
    return [clip for batch in store.stream(7, seed, **options) for clip in batch.clips.tolist()]


@pytest.mark.usefixtures("group_size")
def test_stream_shuffled(place, store) -> None:
    first = order(store, 0)
    assert sorted(first) == list(range(CLIPS))
    assert order(store, 0) == first
    assert order(store, np.random.default_rng(0)) == first
    assert len({tuple(order(store, seed)) for seed in range(8)}) == 8
    rng = np.random.default_rng(0)
    assert order(store, rng) != order(store, rng)
    for batch in store.stream(7, 3):
        for features, mask, clip in zip(batch.features, batch.mask, batch.clips, strict=True):
            np.testing.assert_array_equal(features[mask], expected(place, clip))
    train = store.split("train")
    assert sorted(order(store, 0, clips=train)) == train.tolist()
    assert order(store, 0, clips=train[:0]) == []


@pytest.mark.usefixtures("group_size")
def test_stream_by_probability(store) -> None:
    p = np.zeros(CLIPS)
    p[[1, 30]] = 0.25, 0.75
    drawn = order(store, 0, probabilities=p)
    assert len(drawn) == CLIPS
    assert set(drawn) == {1, 30}
    assert drawn == order(store, 0, probabilities=p)
    rng = np.random.default_rng(1)
    counts = sum(order(store, rng, probabilities=p).count(30) for _ in range(10))
    # 400 draws of 3/4: mean 300, standard deviation 8.7; six of them.
    assert abs(counts - 300) < 52
    with pytest.raises(ValueError, match="need seed"):
        store.stream(2, probabilities=p)


@pytest.mark.usefixtures("group_size")
def test_stream_can_be_left(store) -> None:
    for seed in (None, 0):
        taken = list(itertools.islice(store.stream(3, seed), 2))
        assert [len(batch.clips) for batch in taken] == [3, 3]


def test_pickling_opens_it_again(place, where, store) -> None:
    assert store[0].shape == (SIZES[0], DIM)
    pickled = pickle.dumps(store)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)  # noqa: S301 - of our own making
    assert again.path == store.path == where
    for clip in (0, CLIPS - 1):
        np.testing.assert_array_equal(again[clip], expected(place, clip))


def test_to_pandas(store) -> None:
    table = store.to_pandas()
    assert table.index.name == "clip"
    assert table.index.tolist() == list(range(CLIPS))
    number = range(CLIPS)
    assert table.to_dict("list") == {
        "clip_id": [f"run/é{i}" for i in number],
        "video": ["v.mp4"] * CLIPS,
        "start": OFFSETS[:-1].tolist(),
        "stop": OFFSETS[1:].tolist(),
        "label": [("sit", "walk")[i % 2] for i in number],
        "subject": [("ann", "bob", "cid")[i % 3] for i in number],
        "split": [("train", "val", "test")[i % 3] for i in number],
        "steps": SIZES,
        "status": [0] * CLIPS,
    }


def test_to_xarray(place, store) -> None:
    dataset = store.to_xarray()
    assert dataset["features"].dims == ("step", "feature")
    assert dataset["features"].values.tobytes() == place.expected.tobytes()
    assert dict(dataset.sizes) == {
        "step": STEPS,
        "feature": DIM,
        "clip": CLIPS,
        "label_index": 3,
        "subject_index": 3,
        "split_index": 3,
        "video_index": 1,
    }
    assert set(dataset.data_vars) == {"features", *schema.ARRAYS}
    for name, (_, dimension, attributes) in schema.ARRAYS.items():
        assert dataset[name].dims == (dimension,)
        assert dataset[name].attrs == attributes
        np.testing.assert_array_equal(dataset[name].values, store.columns[name])
    assert dataset.attrs["key"] == store.key
    assert "seal" not in dataset.attrs


def loaded(
    store, workers: int = 0, context=None, **options
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    from torch.utils.data import DataLoader

    dataset = store.torch_dataset(**options)
    loader = DataLoader(
        dataset, 9, num_workers=workers, collate_fn=dataset.collate, multiprocessing_context=context
    )
    return [tuple(part.numpy() for part in batch) for batch in loader]


def check_loaded(place, batches, clips: list[int]) -> None:
    assert sum(len(labels) for _, _, labels in batches) == len(clips)
    found = [item for batch in batches for item in zip(*batch, strict=True)]
    for clip, (features, mask, label) in zip(clips, found, strict=True):
        np.testing.assert_array_equal(features[mask], expected(place, clip))
        assert features.dtype == np.float32
        assert (features[~mask] == 0).all()
        assert label == clip % 2


def test_torch_dataset(place, store) -> None:
    check_loaded(place, loaded(store), list(range(CLIPS)))
    check_loaded(place, loaded(store, part="val"), list(range(1, CLIPS, 3)))
    dataset = store.torch_dataset("train", steps=5)
    assert len(dataset) == len(store.split("train"))
    features, label = dataset[2]
    np.testing.assert_array_equal(features, expected(place, 6)[resampled(SIZES[6], 5)])
    assert label == 0
    features += 1  # a copy: the store is read-only


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork beside threads
def test_torch_dataset_in_forked_workers(place, store) -> None:
    if place.remote:
        pytest.skip("a process that talks to a bucket is not forked")
    assert len(store[0]) == SIZES[0]  # opened before the fork
    for _ in range(2):
        check_loaded(place, loaded(store, 2, "fork"), list(range(CLIPS)))


def test_torch_dataset_in_a_spawned_worker(tmp_path, bucket) -> None:
    place = PLACES["s3"]
    store = featstore.open(place.make(tmp_path, bucket))
    check_loaded(place, loaded(store, 1, "spawn", part="val"), list(range(1, CLIPS, 3)))


def test_nothing_is_damaged(store) -> None:
    assert list(store.container.damages()) == []


def test_a_flipped_chunk_is_found(place, damaged) -> None:
    last = -(-STEPS // place.chunk_rows) - 1
    place.flip(damaged, last)
    if place.mapped:  # not on every read of a map
        assert list(featstore.open(damaged))
    store = featstore.open(damaged, check=place.mapped)
    (damage,) = store.container.damages()
    assert damage.chunk == last
    assert damage.what == "was changed" or (place.kind == "zip" and "CRC" in damage.what)
    np.testing.assert_array_equal(store[0], expected(place, 0))
    said = f"chunk {last} of the features was changed"
    if place.kind == "zip":
        said = "cannot be read .*CRC"
    for read in (
        lambda: store[CLIPS - 1],
        lambda: store.batch(np.array([CLIPS - 1]), steps=3),
        lambda: list(store.stream(4, 0)),
        lambda: store.to_xarray(),
    ):
        with pytest.raises(featstore.CorruptStoreError, match=said):
            read()


def test_checked_reads_are_the_same(place, where) -> None:
    store = featstore.open(where, check=True)
    for batch in store.stream(6, 0):
        for features, mask, clip in zip(batch.features, batch.mask, batch.clips, strict=True):
            np.testing.assert_array_equal(features[mask], expected(place, clip))
