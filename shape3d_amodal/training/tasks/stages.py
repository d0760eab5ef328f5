"""The trainings of the stages 2, 3 and 5, apart or together."""

from __future__ import annotations

from pathlib import Path

from shape3d_amodal.config import configuration
from shape3d_amodal.crops.scenes import CropArrays
from shape3d_amodal.crops.sources import CropSource, open_crops
from shape3d_amodal.errors import UsageError
from shape3d_amodal.model import AmodalModel
from shape3d_amodal.training.tasks.bank_crops import BankArrays, open_bank
from shape3d_amodal.training.tasks.crop_task import CropTask
from shape3d_amodal.training.tasks.prior import PriorTask
from shape3d_amodal.training.tasks.refinement import EndToEndTask, RefinementTask
from shape3d_amodal.training.tasks.stage_options import StageOptions


@configuration
class StageConfig(StageOptions):
    """The training of a stage, or of several together."""

    def task(self, cache: Path, *, workers: int) -> CropTask:
        self.check_options()
        model = self.start(self.loop.seed)
        train, validation = (
            open_crops(config, cache, categories=self.model.categories, workers=workers)
            for config in (self.train, self.validation)
        )
        banks: list[BankArrays] = []
        if self.bank is not None:
            for config, crops in ((self.train, train), (self.validation, validation)):
                if not isinstance(crops, CropArrays):
                    raise UsageError("bank: needs scenes, which know the mesh of each crop, got annotations")
                banks.append(
                    open_bank(self.bank, config, crops, cache, categories=self.model.categories, workers=workers)
                )
        return build_task(self, model, train, validation, *banks)


def build_task(
    config: StageOptions, model: AmodalModel, train: CropSource, validation: CropSource, *banks: BankArrays
) -> CropTask:
    """The task of ``config.stage``; ``banks`` are the silhouettes of a bank for ``train`` and ``validation``."""
    if config.stage in ("completion2d", "refinement"):
        return RefinementTask(config, model, train, validation, *banks)
    kind = EndToEndTask if config.stage == "end_to_end" else PriorTask
    return kind(config, model, train, validation)
