"""Bad annotation files of every format: a one-line error within 2 s and 500 MB, from reader and validator alike."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import annotated
import pytest
from annotated import Document
from attacking import Attack, must_be_refused
from hypothesis import given, settings
from hypothesis import strategies as st

from shape3d_amodal import masks
from shape3d_amodal.annotations.conversion import convert
from shape3d_amodal.annotations.formats.registry import FORMATS, read_dataset
from shape3d_amodal.annotations.statistics import statistics
from shape3d_amodal.annotations.validation import validate
from shape3d_amodal.errors import DataError

Make = Callable[[], Document]
Change = Callable[[Document], object]
MASKS = {
    "kins2019": ("segmentation", "inmodal_seg"),
    "kins2020": ("a_segm", "i_segm"),
    "cocoa": ("segmentation", "visible_mask", "invisible_mask"),
    "cocoa_cls": ("segmentation", "visible_mask", "invisible_mask"),
}


def first(document: Document) -> Document:
    """The first record that has all masks."""
    record = document["annotations"][0]
    return record["regions"][1] if "regions" in record else record


def raw(content: bytes | str) -> Callable[[Path], Any]:
    def attack(folder: Path) -> Any:
        (folder / "bad.json").write_bytes(content.encode() if isinstance(content, str) else content)
        return read_dataset(folder / "bad.json")

    return attack


def changed(make: Make, change: Change) -> Callable[[Path], Any]:
    document = make()
    change(document)
    return raw(json.dumps(document))


def replaced(make: Make, key: str, text: str) -> Callable[[Path], Any]:
    """The document with the JSON ``text``, however broken, for the value ``key`` of its first record."""
    document = make()
    first(document)[key] = "@"
    return raw(json.dumps(document).replace('"@"', text))


VALUES: list[tuple[str, str, str]] = [
    ("number", "3", "got int"),
    ("text", '"mask"', "got str"),
    ("true", "true", "got bool"),
    ("empty object", "{}", "size"),
    ("counts without size", '{"counts": "P3"}', "size"),
    ("size without counts", '{"size": [8, 12]}', "counts"),
    ("turned size", '{"size": [12, 8], "counts": "P3"}', "8 x 12"),
    ("size of one", '{"size": [8], "counts": "P3"}', "size"),
    ("size of 10^9", '{"size": [1000000000, 1000000000], "counts": [1000000000000000000]}', "size"),
    ("negative size", '{"size": [-8, -12], "counts": "P3"}', "size"),
    ("fractional size", '{"size": [8.0, 12.0], "counts": "P3"}', "size"),
    ("code too short", '{"size": [8, 12], "counts": "5"}', "fewer pixels"),
    ("code too long", '{"size": [8, 12], "counts": "oo3"}', "more pixels"),
    ("code of a negative run", '{"size": [8, 12], "counts": "O"}', "negative"),
    ("code that ends inside", '{"size": [8, 12], "counts": "PP"}', "middle"),
    ("code of one endless number", '{"size": [8, 12], "counts": "' + "o" * 10**6 + '"}', "longer"),
    ("code of a strange letter", '{"size": [8, 12], "counts": "P3\\u0000"}', "outside"),
    ("code beyond ASCII", '{"size": [8, 12], "counts": "P\\ud800"}', "outside"),
    ("runs too short", '{"size": [8, 12], "counts": [5, 3]}', "add up"),
    ("runs too long", '{"size": [8, 12], "counts": [90, 9]}', "add up"),
    ("no runs", '{"size": [8, 12], "counts": []}', "add up"),
    ("negative run", '{"size": [8, 12], "counts": [97, -1]}', "at least 0"),
    ("run beyond int64", '{"size": [8, 12], "counts": [100000000000000000000]}', "add up"),
    ("runs that add up past int64", '{"size": [8, 12], "counts": [' + "9223372036854775807," * 9 + "1]}", "add up"),
    ("runs of text", '{"size": [8, 12], "counts": ["96"]}', "integers"),
    ("runs of true", '{"size": [8, 12], "counts": [true, 95.0]}', "integers"),
    ("nested runs", '{"size": [8, 12], "counts": [[96]]}', "integers"),
    ("coordinate of 10^9", "[[0, 0, 1e9, 0, 1e9, 1e9]]", "coordinates from"),
    ("whole coordinate of 10^9", "[[0, 0, 1000000000, 0, 9, 9]]", "coordinates from"),
    ("coordinate of 10^300", "[[0, 0, 1e300, 0, 0, 1]]", "coordinates from"),
    ("coordinate of 10^400 digits", "[[0, 0, 1" + "0" * 400 + ", 0, 0, 1]]", "numbers"),
    ("coordinate NaN", "[[0, 0, NaN, 0, 0, 1]]", "NaN"),
    ("coordinate infinite", "[[0, 0, 1e999, 0, 0, 1]]", "finite coordinates"),
    ("coordinate null", "[[0, 0, null, 0, 0, 1]]", "numbers"),
    ("coordinates of text", '[["0", "0", "1", "0", "1", "1"]]', "numbers"),
    ("a long text among short ones", '[["' + "x" * 10**6 + '"' + ', ""' * 10**5 + "]]", "numbers"),
    ("polygon of objects", "[[{}, {}, {}, {}, {}, {}]]", "numbers"),
    ("polygon of pairs", "[[[0, 0], [1, 1], [2, 0]]]", "numbers"),
    ("polygons among numbers", "[[0, 0, 1, 1, 2, 0], 3]", "numbers"),
    ("numbers among polygons", "[3, [0, 0, 1, 1, 2, 0]]", "numbers"),
    ("odd count of coordinates", "[[0, 0, 1, 1, 2, 0, 3]]", "even"),
    ("two corners", "[[0, 0, 1, 1]]", "at least 6"),
    ("outline of 10^7 pixels", "[[" + "0, 0, 90, 70, " * 100_000 + "0, 0]]", "outline"),
    ("nested lists", "[" * 100_000 + "]" * 100_000, "nested"),
    ("nested lists that JSON allows", "[" * 400 + "]" * 400, "numbers"),
]
"""Values of any mask of any format."""

RECORDS: list[tuple[str, Change, str]] = [
    ("annotations as object", lambda d: d.update(annotations={}), "annotations: expected a list"),
    ("annotations as text", lambda d: d.update(annotations="all"), "annotations: expected a list"),
    ("no annotations", lambda d: d.pop("annotations"), "annotations: missing"),
    ("no images", lambda d: d.pop("images"), "images: missing"),
    ("images as null", lambda d: d.update(images=None), "images: expected a list"),
    ("record as list", lambda d: d["annotations"].append([]), "expected an object"),
    ("record as null", lambda d: d["annotations"].insert(0, None), "annotations[0]"),
    ("duplicate annotation", lambda d: d["annotations"].append(d["annotations"][0]), "duplicate"),
    ("duplicate image", lambda d: d["images"].append(d["images"][0]), "duplicate"),
    ("orphan", lambda d: d["annotations"][0].update(image_id=10**30), "no image has the id"),
    ("id as text", lambda d: d["annotations"][0].update(id="1"), ".id: expected an integer"),
    ("id as true", lambda d: d["annotations"][0].update(id=True), ".id: expected an integer"),
    (
        "image id as number",
        lambda d: d["annotations"][0].update(image_id=5.0),
        "image_id: expected an integer, got a number 5.0; write",
    ),
    ("image id as list", lambda d: d["images"][0].update(id=[5]), "images[0].id"),
    ("file name as number", lambda d: d["images"][0].update(file_name=5), "file_name: expected text"),
    ("width missing", lambda d: d["images"][0].pop("width"), "width: missing"),
    ("height of 0", lambda d: d["images"][0].update(height=0), "positive"),
    ("image of 10^18 pixels", lambda d: d["images"][0].update(height=10**9, width=10**9), "pixels"),
    ("width of 10^4000", lambda d: d["images"][0].update(width=10**4000), "pixels"),
    ("crowd flag of text", lambda d: first(d).update(iscrowd="no"), "0 or 1"),
    ("ignore flag as list", lambda d: first(d).update(ignore=[]), "0 or 1"),
    ("stuff flag of 3", lambda d: first(d).update(isStuff=3), "0 or 1"),
]
"""Changes of any format."""

OTHERS: list[tuple[str, Make, Change, str]] = [
    ("category id as text", annotated.kins2019, lambda d: first(d).update(category_id="4"), "category_id"),
    ("category name as list", annotated.kins2020, lambda d: d["categories"][0].update(name=[]), "name: expected text"),
    (
        "supercategory as number",
        annotated.kins2020,
        lambda d: d["categories"][0].update(supercategory=1),
        "supercategory",
    ),
    ("duplicate category", annotated.kins2019, lambda d: d["categories"].append(d["categories"][0]), "duplicate"),
    ("order as text", annotated.kins2020, lambda d: first(d).update(ico_id="1"), "ico_id: expected an integer"),
    ("order as number", annotated.kins2020, lambda d: first(d).update(ico_id=1.5), "ico_id: expected an integer"),
    ("negative order", annotated.kins2020, lambda d: first(d).update(ico_id=-1), "0 (nearest)"),
    ("cluster as list", annotated.kins2020, lambda d: first(d).update(oco_id=[1]), "oco_id: expected an integer"),
    ("amodal mask missing", annotated.kins2020, lambda d: first(d).pop("a_segm"), "a_segm: missing"),
    ("amodal mask null", annotated.kins2019, lambda d: first(d).update(segmentation=None), "segmentation: missing"),
    ("amodal mask []", annotated.kins2020, lambda d: first(d).update(a_segm=[]), "expected a mask, got an empty list"),
    ("amodal mask [[]]", annotated.cocoa, lambda d: first(d).update(segmentation=[[]]), "expected a mask, got a list"),
    (
        "visible mask [] without an amodal one",
        annotated.own,
        lambda d: first(d).update(visible_mask=[], segmentation=[[], []]),
        "visible_mask: got an empty list, expected a mask of the visible pixels",
    ),
    (
        "regions as text",
        annotated.cocoa,
        lambda d: d["annotations"][0].update(regions="all"),
        "regions: expected a list",
    ),
    ("region as number", annotated.cocoa, lambda d: d["annotations"][0]["regions"].append(3), "regions[3]"),
    ("name as number", annotated.cocoa, lambda d: first(d).update(name=3), "name: expected text"),
    ("region order as text", annotated.cocoa, lambda d: first(d).update(order="2"), "order: expected an integer"),
    ("pairs as list", annotated.cocoa, lambda d: d["annotations"][0].update(depth_constraint=[1]), "expected text"),
    ("pairs of text", annotated.cocoa, lambda d: d["annotations"][0].update(depth_constraint="a-b"), "such as 1-2"),
    ("pairs of three", annotated.cocoa, lambda d: d["annotations"][0].update(depth_constraint="1-2-3"), "such as 1-2"),
    (
        "pair of a huge number",
        annotated.cocoa,
        lambda d: d["annotations"][0].update(depth_constraint="1-" + "9" * 9999),
        "such as 1-2",
    ),
    ("own pairs of text", annotated.own, lambda d: d["images"][0].update(depth_constraint=["1-2"]), "pairs of"),
    ("own camera of text", annotated.own, lambda d: d["images"][0].update(camera={"fov": "x"}), "finite numbers"),
    (
        "own pose of 8 numbers",
        annotated.own,
        lambda d: first(d).update(cam_R_m2c=[0] * 8, cam_t_m2c=[0] * 3),
        "9 finite",
    ),
    ("own pose of text", annotated.own, lambda d: first(d).update(cam_R_m2c=["x"] * 9, cam_t_m2c=[0] * 3), "text 'x'"),
    (
        "own pose without place",
        annotated.own,
        lambda d: first(d).update(cam_R_m2c=[1, 0, 0, 0, 1, 0, 0, 0, 1]),
        "missing",
    ),
    ("own pose of zeros", annotated.own, lambda d: first(d).update(cam_R_m2c=[0] * 9, cam_t_m2c=[0] * 3), "rotation"),
    ("own camera matrix of text", annotated.own, lambda d: d["images"][0].update(cam_K="x"), "cam_K: expected a list"),
    ("own viewpoint of text", annotated.own, lambda d: first(d).update(viewpoint={"a": "x"}), "viewpoint"),
    ("own mesh as number", annotated.own, lambda d: first(d).update(mesh=3), "mesh: expected text"),
]

ATTACKS: list[Attack] = [
    *(
        (f"{name}, {key}: {what}", replaced(annotated.FORMATS[name], key, text), part)
        for name, keys in MASKS.items()
        for key in keys
        for what, text, part in VALUES
    ),
    *(
        (f"{name}: {what}", changed(annotated.FORMATS[name], change), part)
        for name in MASKS
        for what, change, part in RECORDS
    ),
    *((what, changed(make, change), part) for what, make, change, part in OTHERS),
    *(
        (f"{name}: truncated at {share:.0%}", raw(json.dumps(make())[: int(share * len(json.dumps(make())))]), "JSON")
        for name, make in annotated.FORMATS.items()
        for share in (0.1, 0.5, 0.9)
    ),
    ("10^5 nested annotations", raw('{"annotations": ' + "[" * 100_000 + "]" * 100_000 + "}"), "nested"),
    ("a lone annotation without a mask", raw('{"regions": [{"segmentation": [0, 0, 1, 1, 2, 0]}]}'), "image's size"),
    ("a lone annotation of text", raw('{"regions": "all"}'), "expected a list"),
    ("a lone annotation with a size of text", raw('{"regions": [{"visible_mask": {"size": "8x12"}}]}'), "image's size"),
    ("a lone annotation with a huge size", raw('{"regions": [{"visible_mask": {"size": [1e9, 1]}}], "id": 1}'), "bad"),
]


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compile the mask kernels before the clock runs."""
    path = tmp_path_factory.mktemp("compiled") / "good.json"
    for make in annotated.FORMATS.values():
        path.write_text(json.dumps(make()))
        validate(path)
    masks.union([masks.empty(8, 12), masks.empty(8, 12)])
    yield


def test_there_are_many_and_their_names_differ() -> None:
    assert len({name for name, _, _ in ATTACKS}) == len(ATTACKS) >= 500


@pytest.mark.parametrize(("attack", "part"), [pytest.param(a, part, id=name) for name, a, part in ATTACKS])
def test_attack(attack: Callable[[Path], Any], part: str, tmp_path: Path) -> None:
    must_be_refused(attack, part, tmp_path)
    report, _ = validate(tmp_path / "bad.json")  # the validator tells what the reader refuses, and does not stop
    assert report.errors >= 1 or "no-annotations" in {one.check for one in report.problems}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=7) | st.dictionaries(st.text(max_size=6), children, max_size=3),
    max_leaves=9,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a document with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(items):
        yield value, key
        yield from places(child)


def anything_anywhere(folder: Path, data: st.DataObject) -> None:
    """Any JSON value in any place of a document is read or refused, and validated either way."""
    document = copy.deepcopy(data.draw(st.sampled_from(list(annotated.FORMATS.values())))())
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(list(places(document))))
        holder[key] = data.draw(JSON_VALUES)
    path = folder / "bad.json"
    path.write_text(json.dumps(document))
    report, _ = validate(path)
    try:
        dataset = read_dataset(path)
    except DataError as error:
        assert report.errors
        assert "\n" not in str(error)
        return
    statistics(dataset)
    to = data.draw(st.sampled_from(list(FORMATS)))
    with suppress(DataError):  # what has no amodal mask cannot be held
        assert convert(path, folder / "new.json", to).dataset == dataset


def fuzz(folder: Path, examples: int) -> None:
    settings(max_examples=examples, deadline=None)(given(st.data())(lambda data: anything_anywhere(folder, data)))()


def test_anything_anywhere(tmp_path: Path) -> None:
    fuzz(tmp_path, 100)


@pytest.mark.slow
def test_anything_anywhere_at_length(tmp_path: Path) -> None:
    fuzz(tmp_path, 3000)
