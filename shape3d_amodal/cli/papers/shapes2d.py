"""``shape3d-amodal shapes2d``: the set of Layered Embeddings, its bounds, and what a network makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from shape3d_amodal.cli.shared.inputs import refuse_configured, weights_files
from shape3d_amodal.cli.shared.kinds import check_kind
from shape3d_amodal.cli.shared.options import Device, Overrides, check_positive, flat, load, refuse_existing
from shape3d_amodal.device import check_device_early
from shape3d_amodal.errors import UsageError, counted

_KIND = "shapes2d make --config"


def make(*, out: Path, config: Path | None = None, overrides: Overrides = ()) -> None:
    """Write images/*.png and annotations.json (COCO) of triangles, rectangles and circles that hide each other.

    Args:
        out: folder to write to.
        config: YAML file such as configs/shapes2d/test.yaml; without it, the defaults.
        overrides: options to change: count=1000 seed=0 stride=4 shapes.per_class=6 "shapes.classes=[rectangle]" ...
    """
    from shape3d_amodal.files.outputs import output_folder

    check_kind(config, _KIND)
    output_folder(out)
    refuse_configured(out, writes=("annotations.json", "images"), files=[config])

    from shape3d_amodal.papers.layered.sets import Shapes2dSetConfig, write_shapes_set

    chosen = load(config, Shapes2dSetConfig, flat(overrides))
    refuse_existing(out / "annotations.json")
    dataset = write_shapes_set(chosen, out)
    shapes = counted(sum(len(one.instances) for one in dataset.images), "shape")
    print(f"{counted(len(dataset.images), 'scene')} with {shapes} in {out}")


def bounds(
    *,
    per_class: tuple[int, ...] = (6, 12),
    layers: tuple[int, ...] = (2, 3, 4),
    config: Path | None = None,
    overrides: Overrides = (),
) -> None:
    """Print the best possible scores with few layers of depth, in percent (Table 2 of Layered Embeddings).

    Args:
        per_class: numbers of instances a class (N), 1 to 100.
        layers: numbers of layers, from 1 on.
        config: YAML file of the set, such as configs/shapes2d/test.yaml; without it, the defaults.
        overrides: options to change, such as count=1000 seed=0.
    """
    check_kind(config, _KIND)

    from dataclasses import replace
    from math import isnan

    from shape3d_amodal.papers.layered.sets import Shapes2dSetConfig, layer_bounds

    if not layers or min(layers) < 1:
        raise UsageError(f"--layers: expected numbers from 1 on, got {' '.join(map(str, layers)) or 'none'}")
    if not per_class or not 1 <= min(per_class) <= max(per_class) <= 100:
        raise UsageError(f"--per-class: expected numbers 1 to 100, got {' '.join(map(str, per_class)) or 'none'}")
    chosen = load(config, Shapes2dSetConfig, flat(overrides))
    print(f"{counted(chosen.count, 'scene')}, seed {chosen.seed}, masks of every {chosen.stride}. pixel")
    names = ("AP", "AP50", "AP75", "AR100", "none", "part.", "heavy")
    print(f"{'N':>3} {'L':>3}" + "".join(f"{name:>8}" for name in names))
    for number in per_class:
        tables = layer_bounds(replace(chosen, shapes=replace(chosen.shapes, per_class=number)), layers)
        for count, table in tables.items():
            values = [table.score[name] for name in ("amodal_ap", "amodal_ap50", "amodal_ap75", "amodal_ar100")]
            values += [level["amodal_ar100"] for level in table.by_level().values()]
            cells = ("-" if isnan(value) else f"{100 * value:.2f}" for value in values)  # of a level without a shape
            print(f"{number:>3} {count:>3}" + "".join(f"{cell:>8}" for cell in cells))


def show(
    *,
    weights: Path,
    out: Path,
    limit: int = 4,
    config: Path | None = None,
    overrides: Overrides = (),
    device: Device = "auto",
) -> None:
    """Draw the predictions of a network of layered embeddings, one scene per row.

    From left to right: the image; embeddings, clusters and classes of each layer below each other; the largest masks.

    Args:
        weights: folder of weights.
        out: PNG file.
        limit: number of scenes.
        config: YAML file of the set, such as configs/shapes2d/test.yaml; without it, the defaults.
        overrides: options to change, such as seed=3 shapes.per_class=3.
    """
    from dataclasses import replace

    from shape3d_amodal.files.outputs import output_file

    check_positive(limit=limit)
    check_device_early(device)
    check_kind(config, _KIND)
    output_file(out, inputs=[config, *weights_files(weights)])

    from shape3d_amodal.device import torch_device
    from shape3d_amodal.files.atomic import make_folder, write_atomic
    from shape3d_amodal.files.pretrained import load_network
    from shape3d_amodal.papers.layered.drawing import draw_layers
    from shape3d_amodal.papers.layered.network import LayeredConfig, LayeredNetwork
    from shape3d_amodal.papers.layered.sets import Shapes2dSetConfig, annotated_scenes, rgb
    from shape3d_amodal.scenes.sets import png_bytes

    chosen = replace(load(config, Shapes2dSetConfig, flat(overrides)), count=limit)
    network, _ = load_network(weights, LayeredConfig, LayeredNetwork)
    network.to(torch_device(device))
    drawn = draw_layers(network, [rgb(scene) for scene, _ in annotated_scenes(chosen)])
    make_folder(out.parent)
    write_atomic(out, png_bytes(drawn))
    print(f"{counted(limit, 'scene')} in {out}")


Command = (
    Annotated[Any, tyro.conf.subcommand("make", constructor=make)]
    | Annotated[Any, tyro.conf.subcommand("bounds", constructor=bounds)]
    | Annotated[Any, tyro.conf.subcommand("show", constructor=show)]
)


@tyro.conf.configure(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes)
def shapes2d(command: Command) -> None:
    """Triangles, rectangles and circles that hide each other: make, bounds, show."""
