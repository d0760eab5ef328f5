"""``shape3d-amodal scenes``: an occlusion benchmark from any meshes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro


def scenes(
    *,
    out: Path,
    config: Path | None = None,
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = (),
) -> None:
    """Make occlusion scenes with exact ground truth: images/*.png and annotations.json (COCO).

    Args:
        out: folder to write to; it must not hold scenes already.
        config: YAML file such as configs/open13/test.yaml; without it, the defaults of --set's options.
        overrides: options to change: meshes=open13:train (or val, test, or a folder of your meshes), per_category=20,
            seed=0, scenes.kind=composed (or bars), scenes.image_size=256, targets_only=true.
    """
    from shape3d_amodal.config import load_config, parse_config
    from shape3d_amodal.data.scene_sets import SceneSetConfig, write_scene_set
    from shape3d_amodal.errors import UsageError

    if config is None:
        chosen = parse_config("{}", SceneSetConfig, overrides=overrides)
    else:
        chosen = load_config(config, SceneSetConfig, overrides=overrides)
    if (out / "annotations.json").exists():
        raise UsageError(f"{out}: holds scenes already; choose another folder or remove it")
    dataset = write_scene_set(chosen, out)
    scored = sum(not instance.ignore for image in dataset.images for instance in image.instances)
    print(f"{len(dataset.images)} scenes with {scored} scored objects in {out}")
