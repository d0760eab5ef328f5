"""Results as KINS' own evaluation reads them: a list for ``COCO.loadRes``, with KINS' category ids and keys.

    2019: {"image_id", "category_id", "score", "segmentation", "inmodal_seg"?, "inmodal_bbox"?}
    2020: {"image_id", "category_id", "score", "segmentation", "a_segm", "a_bbox", "i_segm"?, "i_bbox"?}

``segmentation`` is what is scored, the amodal or the visible mask; masks are compressed run-length codes. There is no
``bbox``: with one, ``loadRes`` would take its area for that of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from shape3d_amodal import masks
from shape3d_amodal.annotations.formats.kins import CATEGORY_IDS
from shape3d_amodal.annotations.results import AmodalResult
from shape3d_amodal.errors import DataError, listed
from shape3d_amodal.files.atomic import write_json_atomic
from shape3d_amodal.structures import AmodalDataset

KinsForm = Literal["2019", "2020"]
Scored = Literal["amodal", "visible"]


def write_kins_results(
    path: str | Path, dataset: AmodalDataset, results: Sequence[AmodalResult], *, form: KinsForm, scored: Scored
) -> int:
    """Write ``results`` to ``path`` atomically; returns their number.

    Results of categories that KINS, or KINS 2019 in its form, does not have are left out, and so are answers with a
    chance, which stand beside the one that counts.

    Args:
        dataset: what the categories of the results are called.

    Raises:
        DataError: a result is of an unknown category, none is of a class of KINS, visible masks are to be scored and a
            result has none, or the file cannot be written.
    """
    names, records = dataset.category_names, []
    keys = {name: key for name, key in CATEGORY_IDS.items() if form == "2020" or name != "rider"}
    for number, one in enumerate(results):
        if one.category_id not in names:
            problem = f"category id {one.category_id} is not in the annotations; give those that the results are of"
            raise DataError(problem, field=f"results[{number}]")
        key = keys.get(names[one.category_id])
        if key is None or one.chance is not None:
            continue
        if scored == "visible" and one.visible is None:
            raise DataError("expected a visible mask, there is none", field=f"results[{number}].visible_mask")
        records.append(_record(one, key, form, scored))
    if not records:
        found = listed(sorted({names[one.category_id] for one in results})) or "no results at all"
        raise DataError(f"expected results of classes of KINS {form} ({', '.join(keys)}), got {found}")
    write_json_atomic(path, records)
    return len(records)


def _record(result: AmodalResult, category: int, form: KinsForm, scored: Scored) -> dict[str, Any]:
    amodal, visible = result.segmentation, result.visible
    chosen = visible if scored == "visible" and visible is not None else amodal
    head = {"image_id": result.image_id, "category_id": category, "score": result.score}
    record = {**head, "segmentation": chosen.to_coco()}
    if form == "2020":
        record |= {"a_segm": amodal.to_coco(), "a_bbox": list(masks.bbox(amodal))}
    if visible is not None:
        segm, bbox = ("i_segm", "i_bbox") if form == "2020" else ("inmodal_seg", "inmodal_bbox")
        record |= {segm: visible.to_coco(), bbox: list(masks.bbox(visible))}
    return record
