import numpy as np
import pytest
import zarr

from featstore.errors import InputError, SchemaError
from featstore.format.codecs import COMPRESSIONS, DTYPES, Codec, codec_of
from featstore.format.zarr_format import encode_columns
from tests.stores import contents, write_store

CODECS = [Codec(dtype, compression) for dtype in DTYPES for compression in COMPRESSIONS]
SHAPE = (64, 16)


def names(codec: Codec) -> str:
    return f"{codec.dtype}-{codec.compression}"


def chunk(codec: Codec) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=SHAPE).astype(codec.dtype)
    values[5], values[6], values[7, 0] = np.nan, 0, -0.0
    return values


@pytest.fixture(params=CODECS, ids=names)
def codec(request) -> Codec:
    return request.param


def array_of(codec: Codec, store) -> zarr.Array:
    return zarr.create_array(
        store,
        shape=SHAPE,
        chunks=SHAPE,
        dtype=codec.dtype,
        compressors=codec.zarr_compressors(),
        fill_value=float("nan"),
        config={"write_empty_chunks": True},
    )


def test_what_is_encoded_is_decoded_bit_for_bit(codec) -> None:
    found = codec.decode(bytes(codec.encode(chunk(codec))), SHAPE)
    assert found.tobytes() == chunk(codec).tobytes()
    assert found.dtype == np.dtype(codec.dtype)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0


def test_the_bytes_are_those_that_zarr_writes(codec, tmp_path) -> None:
    array_of(codec, tmp_path / "a")[...] = chunk(codec)
    assert (tmp_path / "a/c/0/0").read_bytes() == bytes(codec.encode(chunk(codec)))


def test_zarr_reads_the_bytes(codec, tmp_path) -> None:
    array = array_of(codec, tmp_path / "a")
    path = tmp_path / "a/c/0/0"
    path.parent.mkdir(parents=True)
    path.write_bytes(codec.encode(chunk(codec)))
    assert array[...].tobytes() == chunk(codec).tobytes()


def test_strided_chunks_and_those_of_another_byte_order_are_encoded(codec) -> None:
    values = chunk(codec)
    wide = np.repeat(values, 2, axis=1)[:, ::2]
    assert not wide.flags.c_contiguous
    swapped = values.astype(values.dtype.newbyteorder(">"))
    assert bytes(codec.encode(wide)) == bytes(codec.encode(values)) == bytes(codec.encode(swapped))


def test_the_same_chunk_gives_the_same_bytes(codec) -> None:
    assert len({bytes(codec.encode(chunk(codec))) for _ in range(5)}) == 1


def test_metadata_tell_the_codec(codec) -> None:
    import json

    made = contents(codec=codec)
    files = encode_columns(made.columns, made.layout, made.codec)
    assert codec_of(json.loads(files["features/zarr.json"]), "here") == codec


def test_compressed_stores_are_smaller(tmp_path) -> None:
    def size(compression: str) -> int:
        made = contents([400], chunk_rows=100, codec=Codec(compression=compression))
        path = write_store(tmp_path / f"{compression}.zarr", made)
        return sum(chunk.stat().st_size for chunk in (path / "features/c").glob("*/0"))

    assert size("none") == 400 * 16
    assert size("zstd") < size("none")
    assert size("blosc") < size("none")


def test_bytes_of_another_shape_are_refused(codec) -> None:
    with pytest.raises(ValueError, match="cannot reshape"):
        codec.decode(bytes(codec.encode(chunk(codec))), (SHAPE[0] + 1, SHAPE[1]))


@pytest.mark.parametrize("compression", ["zstd", "blosc"])
def test_bytes_that_are_no_chunk_are_refused(compression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Codec(compression=compression).decode(b"\1" * 100, SHAPE)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"dtype is 'float64';.*float32, float16"):
        Codec("float64")
    with pytest.raises(InputError, match="compression is 'gzip'"):
        Codec(compression="gzip")


def test_arrays_of_other_codecs_are_refused() -> None:
    gzip = {"data_type": "float32", "codecs": [{"name": "bytes"}, {"name": "gzip"}]}
    with pytest.raises(SchemaError, match="float32 with bytes, gzip, which this featstore"):
        codec_of(gzip, "here")
    with pytest.raises(SchemaError, match="float64 with bytes"):
        codec_of({"data_type": "float64", "codecs": [{"name": "bytes"}]}, "here")
