"""One picture of three cars, 12 x 8 pixels, as each format publishes it: codes and polygons counted by hand.

..........DD     NEAR covers columns 1 to 5, rows 2 to 6; FAR columns 4 to 8, rows 1 to 4, and NEAR hides 6 of its
....FFFFF.DD     20 pixels; ALONE is D.
.NNNNNFFF...
.NNNNNFFF...
.NNNNNFFF...
.NNNNN......
.NNNNN......
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

Document = dict[str, Any]

NEAR, FAR, ALONE = (np.zeros((8, 12), dtype=bool) for _ in range(3))
NEAR[2:7, 1:6] = True
FAR[1:5, 4:9] = True
ALONE[0:2, 10:12] = True
FAR_VISIBLE = FAR & ~NEAR

NEAR_RUNS = [10, 5, 3, 5, 3, 5, 3, 5, 3, 5, 49]
NEAR_POLYGON = [1, 2, 6, 2, 6, 7, 1, 7]
FAR_POLYGON = [4, 1, 9, 1, 9, 5, 4, 5]
FAR_VISIBLE_POLYGON = [4, 1, 9, 1, 9, 5, 6, 5, 6, 2, 4, 2]
ALONE_POLYGON = [10.0, 0.0, 12.0, 0.0, 12.0, 2.0, 10.0, 2.0]


def rle(counts: str | list[int]) -> Document:
    return {"size": [8, 12], "counts": counts}


# The same masks in COCO's compressed text, as pycocotools writes the runs.
NEAR_CODE, FAR_CODE, ALONE_CODE = rle(":530000000^1"), rle("Q1440000000g0"), rle("`22600")
FAR_VISIBLE_CODE, FAR_HIDDEN_CODE, EMPTY_CODE = rle("Q117003M000g0"), rle("R1350^1"), rle("P3")

IMAGE = {"id": 5, "file_name": "000005.png", "height": 8, "width": 12}
KINS_NAMES = {1: "cyclist", 2: "pedestrian", 4: "car", 5: "tram", 6: "truck", 7: "van", 8: "misc"}
CATEGORIES = [{"id": number, "name": name} for number, name in KINS_NAMES.items()]


def kins2019() -> Document:
    """Amodal polygons, visible compressed codes, no order, no id 3."""
    boxes = {"bbox": [4, 1, 5, 4], "inmodal_bbox": [4, 1, 5, 4]}
    shared = {"image_id": 5, "category_id": 4, "iscrowd": 0}
    return {
        "images": [dict(IMAGE)],
        "annotations": [
            {"id": 1, **shared, "segmentation": [FAR_POLYGON], "area": 20, "inmodal_seg": FAR_VISIBLE_CODE, **boxes},
            {
                "id": 2,
                **shared,
                "segmentation": [NEAR_POLYGON],
                "area": 25,
                "bbox": [1, 2, 5, 5],
                "inmodal_seg": NEAR_CODE,
                "inmodal_bbox": [1, 2, 5, 5],
            },
            {
                "id": 3,
                **shared,
                "segmentation": [ALONE_POLYGON],
                "area": 4.0,
                "bbox": [10.0, 0.0, 2.0, 2.0],
                "inmodal_seg": ALONE_CODE,
                "inmodal_bbox": [10.0, 0.0, 2.0, 2.0],
            },
        ],
        "categories": copy.deepcopy(CATEGORIES),
    }


def kins2020() -> Document:
    """Polygons, compressed and uncompressed codes side by side; clusters and orders; id 3."""
    shared = {"image_id": 5, "category_id": 4, "iscrowd": 0}
    return {
        "images": [dict(IMAGE)],
        "annotations": [
            {
                "id": 1,
                **shared,
                "a_segm": [FAR_POLYGON],
                "a_bbox": [4, 1, 5, 4],
                "a_area": 20,
                "i_segm": [FAR_VISIBLE_POLYGON],
                "i_bbox": [4, 1, 5, 4],
                "i_area": 14,
                "oco_id": 2,
                "ico_id": 2,
            },
            {
                "id": 2,
                **shared,
                "a_segm": NEAR_CODE,
                "a_bbox": [1, 2, 5, 5],
                "i_segm": rle(NEAR_RUNS),
                "i_bbox": [1, 2, 5, 5],
                "oco_id": 2,
                "ico_id": 1,
            },
            {
                "id": 3,
                **shared,
                "category_id": 3,
                "a_segm": [ALONE_POLYGON],
                "a_bbox": [10, 0, 2, 2],
                "i_segm": ALONE_CODE,
                "i_bbox": [10, 0, 2, 2],
                "oco_id": 1,
                "ico_id": 0,
            },
        ],
        "categories": [*copy.deepcopy(CATEGORIES), {"id": 3, "name": "rider"}],
    }


def cocoa() -> Document:
    """Regions with one flat polygon; a visible mask only where something is hidden; free text."""
    return {
        "images": [{**IMAGE, "date_captured": "2013-11-14 17:02:52", "flickr_url": "", "coco_url": ""}],
        "annotations": [
            {
                "id": 77,
                "image_id": 5,
                "author": "someone",
                "url": "somewhere/000005.png",
                "size": 3,
                "depth_constraint": "1-2",
                "regions": [
                    {
                        "segmentation": NEAR_POLYGON,
                        "name": "old car ",
                        "area": 25,
                        "isStuff": 0,
                        "occlude_rate": 0,
                        "order": 1,
                    },
                    {
                        "segmentation": FAR_POLYGON,
                        "name": "a car",
                        "area": 20,
                        "isStuff": 0,
                        "occlude_rate": 0.3,
                        "order": 2,
                        "visible_mask": FAR_VISIBLE_CODE,
                        "invisible_mask": FAR_HIDDEN_CODE,
                    },
                    {
                        "segmentation": ALONE_POLYGON,
                        "name": "sky",
                        "area": 4,
                        "isStuff": 1,
                        "occlude_rate": 0,
                        "order": 3,
                    },
                ],
            }
        ],
    }


def cocoa_cls() -> Document:
    """One record an object, amodal mask as code or polygons, no invisible mask where nothing is hidden."""
    shared = {"image_id": 5, "category_id": 3, "iscrowd": 0}
    return {
        "images": [dict(IMAGE)],
        "categories": [{"id": 3, "name": "car", "supercategory": "vehicle"}],
        "annotations": [
            {
                "id": 1,
                **shared,
                "segmentation": FAR_CODE,
                "bbox": [4, 1, 5, 4],
                "area": 20,
                "visible_mask": FAR_VISIBLE_CODE,
                "invisible_mask": FAR_HIDDEN_CODE,
                "occlude_rate": 0.3,
            },
            {
                "id": 2,
                **shared,
                "segmentation": [NEAR_POLYGON],
                "bbox": [1, 2, 5, 5],
                "area": 25,
                "visible_mask": NEAR_CODE,
                "occlude_rate": 0.0,
            },
            {"id": 3, **shared, "segmentation": ALONE_CODE, "area": 4, "visible_mask": ALONE_CODE, "occlude_rate": 0.0},
        ],
    }


def renamed() -> Document:
    """COCOA-cls or D2SA after converters that call the visible mask as KINS does."""
    document = cocoa_cls()
    for record in document["annotations"]:
        record["inmodal_seg"] = record.pop("visible_mask")
    return document


def own() -> Document:
    """Our own form: COCOA-cls with orders, pairs and flags."""
    document = cocoa_cls()
    document["images"] = [{**IMAGE, "depth_constraint": [[2, 1]], "camera": {"azimuth_deg": 30.0}}]
    for record, order, cluster in zip(document["annotations"], (1, 0, 0), (0, 0, 1), strict=True):
        record |= {"depth_order": order, "cluster": cluster, "ignore": int(record["id"] == 3)}
    return document


FORMATS = {
    "kins2019": kins2019,
    "kins2020": kins2020,
    "cocoa": cocoa,
    "cocoa_cls": cocoa_cls,
    "renamed": renamed,
    "own": own,
}
