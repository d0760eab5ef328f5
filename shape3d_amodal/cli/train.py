"""``shape3d-amodal train``: a stage, all of them end to end, or a baseline."""

from __future__ import annotations

from pathlib import Path

import tyro

from shape3d_amodal.cli.shared.inputs import refuse_configured
from shape3d_amodal.cli.shared.options import Overrides, PrintConfig, default_folder, flat
from shape3d_amodal.cli.shared.stopping import keeps
from shape3d_amodal.device import check_device_early

WRITTEN = ("weights", "samples", "tensorboard", "log.jsonl")
"""What is written to the folder of a training, beside checkpoints."""


def train(
    config: tyro.conf.Positional[Path],
    /,
    *,
    out: Path | None = None,
    cache: Path = Path("outputs/cache"),
    device: str | None = None,
    overrides: Overrides = (),
    resume: bool = True,
    dry_run: bool = False,
    print_config: PrintConfig = False,
) -> None:
    """Train a stage or a baseline; a training that was stopped goes on where it stood.

    The options of CONFIG differ from training to training: --print-config shows all of them, each with a comment that
    says what it does.

    Args:
        config: YAML file of the training, such as configs/open13/shape_prior.yaml.
        out: folder of checkpoints, log.jsonl, TensorBoard events and, at the end, weights; by default
            outputs/<folder of the config>/<name of the config>.
        cache: folder where training crops are kept between trainings.
        device: auto, cpu, cuda or cuda:N, in place of the config's loop.device.
        overrides: options of the config to change, such as loop.steps=100 loop.threads=1.
        resume: go on from the newest checkpoint in the output folder; --no-resume refuses a folder that has one.
        dry_run: one batch through everything; no weights, checkpoints or logs are written.
    """
    import logging
    from contextlib import nullcontext

    from shape3d_amodal.cli.shared.kinds import check_kind
    from shape3d_amodal.config import explained_config
    from shape3d_amodal.files.assets import find_config
    from shape3d_amodal.files.outputs import output_folder

    if device is not None:
        check_device_early(device)
    path, folder = find_config(config), out or default_folder(config)
    check_kind(config, "train")  # before anything heavy is imported
    if not (print_config or dry_run):
        output_folder(folder)

    from shape3d_amodal.training.registry import load_training

    changes = flat(overrides) if device is None else (*flat(overrides), f"loop.device={device}")
    training = load_training(path, overrides=changes)
    if print_config:
        print(explained_config(training), end="")
        return

    if not dry_run:
        refuse_configured(folder, writes=WRITTEN, files=[config], configs=[training])

    from shape3d_amodal.training.loop.distributed import is_first_rank
    from shape3d_amodal.training.run import run_training

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with nullcontext() if dry_run else keeps(f"what is done is kept in {cache} and {folder}", resume=resume):
        result = run_training(training, folder, cache=cache, resume=resume, dry_run=dry_run)
    if not is_first_rank():
        return
    for name, value in result.metrics.items():
        print(f"{name}: {value:.2f}")
    if dry_run:
        print(f"{training.stage}: one batch went through; nothing was trained")
    else:
        print(f"{training.stage}: {result.step} steps done; weights in {folder / 'weights'}")
