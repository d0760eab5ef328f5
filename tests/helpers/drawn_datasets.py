"""Hypothesis: any data set that a reader could have made, small."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shape3d_amodal import masks
from shape3d_amodal.structures import AmodalDataset, AmodalImage, AmodalInstance, Category, Pose

ANGLES = st.none() | st.fixed_dictionaries({"azimuth_deg": st.floats(-1e9, 1e9), "elevation_deg": st.floats(-90, 90)})

ROTATIONS = st.sampled_from(
    ((1, 0, 0, 0, 1, 0, 0, 0, 1), (0, -1, 0, 0, 0, -1, 1, 0, 0), (0.6, 0.8, 0, -0.8, 0.6, 0, 0, 0, 1))
)
POSES = st.builds(Pose, ROTATIONS, st.tuples(*[st.floats(-1e9, 1e9)] * 3))
PIXELS = st.integers(-(10**6), 10**6).map(lambda number: number / 8)  # so that adding and taking off 0.5 is exact
INTRINSICS = st.tuples(st.floats(0.1, 1e9), st.floats(0.1, 1e9), PIXELS, PIXELS)


@st.composite
def images(draw: st.DrawFn, index: int, category_ids: list[int], *, whole: bool) -> AmodalImage:
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    divided = draw(st.booleans())
    instances = []
    for number in range(draw(st.integers(0, 3))):
        amodal, visible = (draw(arrays(np.bool_, (height, width))) for _ in range(2))
        amodal[0, 0] = True
        known = whole or draw(st.booleans())
        if not known:
            visible[-1, -1] = True
        ignore = draw(st.booleans())
        instances.append(
            AmodalInstance(
                id=10 * index + number,
                category_id=draw(st.sampled_from(category_ids)),
                visible=masks.encode(visible),
                amodal=masks.encode(amodal) if known else None,
                occlude_rate=float((amodal & ~visible).sum() / amodal.sum()) if known else None,
                depth_order=draw(st.none() | st.integers(0, 5)),
                cluster=draw(st.integers(0, 2)) if divided else None,
                ignore=ignore,
                crowd=ignore and draw(st.booleans()),
                is_stuff=draw(st.booleans()),
                mesh=draw(st.none() | st.text(max_size=5)),
                viewpoint=draw(ANGLES),
                pose=draw(st.none() | POSES),
            )
        )
    ids = [one.id for one in instances]
    pairs = st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(ids)), max_size=2) if ids else st.just([])
    return AmodalImage(
        id=index,
        file_name=draw(st.text(max_size=8)),
        width=width,
        height=height,
        instances=tuple(instances),
        depth_constraint=tuple(draw(pairs)),
        camera=draw(st.none() | st.dictionaries(st.text(max_size=3), st.floats(-1e9, 1e9), max_size=2)),
        intrinsics=draw(st.none() | INTRINSICS),
    )


@st.composite
def datasets(draw: st.DrawFn, *, whole: bool = False) -> AmodalDataset:
    """Data sets with all fields drawn; ``whole`` ones know every amodal mask."""
    category_ids = draw(st.lists(st.integers(-5, 10**6), min_size=1, max_size=3, unique=True))
    categories = tuple(
        Category(identity, draw(st.text(max_size=5)), draw(st.none() | st.text(max_size=3)))
        for identity in category_ids
    )
    count = draw(st.integers(0, 3))
    return AmodalDataset(
        images=tuple(draw(images(index, category_ids, whole=whole)) for index in range(count)), categories=categories
    )
