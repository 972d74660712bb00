import pytest

from featstore.keys import ClipKey, canonical_json, differences, digest, feature_key, store_key

CONFIG = {"size": 224, "normalise": {"from": "split"}}
CLIP = ClipKey("id", "00ff", "limited", 0, 30, "walk", "ann", "train")
OTHER = CLIP._replace(clip_id="other", start=30, stop=60)


def test_rare_fields_are_in_a_key_only_where_they_are_not_empty() -> None:
    content = {"features": CONFIG, "classes": ["walk"], "subjects_known": True}
    assert store_key(CONFIG, ["walk"], [CLIP]) == digest({**content, "clips": [list(CLIP)[:8]]})
    shown, late = CLIP._replace(shown="75 125"), CLIP._replace(begins="2")
    assert len({store_key(CONFIG, ["walk"], [clip]) for clip in (CLIP, shown, late)}) == 3
    keys = [feature_key(CONFIG, [0.5], [0.2], clip) for clip in (CLIP, shown, late)]
    assert keys[0] == keys[2] != keys[1]


def test_canonical_json_is_one_text() -> None:
    assert canonical_json({"b": 1, "a": "é"}) == canonical_json({"a": "é", "b": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


@pytest.mark.parametrize("field", ClipKey._fields)
def test_store_key_covers_every_field_of_a_clip(field: str) -> None:
    changed = CLIP._replace(**{field: 7 if field in ("start", "stop") else "changed"})
    assert store_key(CONFIG, ["walk"], [CLIP]) != store_key(CONFIG, ["walk"], [changed])


def test_store_key_covers_configuration_classes_and_order() -> None:
    key = store_key(CONFIG, ["walk"], [CLIP, OTHER])
    assert key == store_key(dict(CONFIG), ("walk",), iter([CLIP, OTHER]))
    assert key != store_key({**CONFIG, "size": 112}, ["walk"], [CLIP, OTHER])
    assert key != store_key(CONFIG, ["walk", "sit"], [CLIP, OTHER])
    assert key != store_key(CONFIG, ["walk"], [OTHER, CLIP])
    assert key != store_key(CONFIG, ["walk"], [CLIP, OTHER], subjects_known=False)


@pytest.mark.parametrize("field", ["clip_id", "label", "subject", "split"])
def test_feature_key_leaves_out_what_does_not_change_features(field: str) -> None:
    changed = CLIP._replace(**{field: "changed"})
    assert feature_key(CONFIG, [0.5], [0.2], CLIP) == feature_key(CONFIG, [0.5], [0.2], changed)


@pytest.mark.parametrize("field", ["video", "pixel_range", "start", "stop"])
def test_feature_key_covers_what_changes_features(field: str) -> None:
    changed = CLIP._replace(**{field: 7 if field in ("start", "stop") else "changed"})
    assert feature_key(CONFIG, [0.5], [0.2], CLIP) != feature_key(CONFIG, [0.5], [0.2], changed)


def test_feature_key_has_statistics_by_value() -> None:
    fixed = {**CONFIG, "normalise": {"mean": [0.5], "std": [0.2]}}
    assert feature_key(CONFIG, [0.5], [0.2], CLIP) == feature_key(fixed, [0.5], [0.2], CLIP)
    assert feature_key(CONFIG, [0.5], [0.2], CLIP) != feature_key(CONFIG, [0.4], [0.2], CLIP)


def test_differences_name_nested_fields_and_both_values() -> None:
    new = {"size": 112, "normalise": {"mean": [0.5]}}
    assert differences(CONFIG, new) == [
        "normalise.from: split -> null",
        "normalise.mean: null -> [0.5]",
        "size: 224 -> 112",
    ]
    assert differences(CONFIG, CONFIG) == []
