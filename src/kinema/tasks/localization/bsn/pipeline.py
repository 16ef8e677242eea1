"""BSN (Lin et al., ECCV 2018) as a pipeline: TEM finds boundaries, candidates are generated, PEM evaluates them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic

from annotated_types import Ge

from kinema.config import NOT_AN_OPTION, dump
from kinema.errors import UserError, renaming_options
from kinema.models.bsn import PEMOptions, TEMOptions
from kinema.runtime.device import RuntimeOptions
from kinema.runtime.processes import process_group
from kinema.storage import write_text
from kinema.tasks.localization.bsn.candidates import generate_candidates
from kinema.tasks.localization.bsn.data import ProposalData
from kinema.tasks.localization.bsn.pem import PEMTask
from kinema.tasks.localization.bsn.tem import TEMTask
from kinema.tasks.localization.data.features import FeatureData, LoadingOptions
from kinema.tasks.localization.options import LocalizationConfig
from kinema.training.config import AnyConfig, M, T, TrainConfig, TrainingOptions
from kinema.training.loop import train_network
from kinema.training.observers import Observers
from kinema.training.optimization.optimizer import SGD, Adam, AdamW
from kinema.training.optimization.schedule import CosineSchedule, StepSchedule
from kinema.training.parallel.distributed import StopRequest, raise_if_stop_requested
from kinema.training.saving.work_dir import check_resumed, resumable_config
from kinema.weights.model_files import write_pipeline

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Stage(Generic[M, T]):
    """Training of one of the networks."""

    model: M
    task: T
    optim: Adam | SGD | AdamW
    schedule: StepSchedule | CosineSchedule
    training: TrainingOptions = field(default_factory=TrainingOptions)

    @classmethod
    def of(cls, config: TrainConfig[T, M, Any]) -> "Stage[M, T]":
        """Take the options of a stage from a config that trains its network alone."""
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})


@dataclass(kw_only=True)
class BSN:
    """TEM, candidates and PEM, one after the other; see `kinema.training.config.Pipeline`."""

    FORMERLY: ClassVar = {f"{stage}.training.multigrid": "" for stage in ("tem", "pem")}

    recipe: str = field(default="", metadata=NOT_AN_OPTION)
    """Recipe that it came from."""
    data: FeatureData
    tem: Stage[TEMOptions, TEMTask]
    pem: Stage[PEMOptions, PEMTask]
    train_candidates: Annotated[int, Ge(1)] = 500
    """Candidates of a video that PEM is trained on, the most probable ones."""
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)

    def stages(self) -> dict[str, AnyConfig]:
        """Return the trainings by the names of their folders, in order."""
        return {"tem": self._training(self.tem, self.data), "pem": self._training(self.pem, self._candidates(Path()))}

    def check(self, work_dir: Path, *, resume: bool, check_training: Callable[[AnyConfig, Path], None]) -> None:
        """See `Pipeline`. Checked before the first stage are TEM, and PEM's training options."""
        _refuse_earlier_stages(work_dir, resume=resume)
        for training in (self.pem.training, self.tem.training):
            with renaming_options(_option_names("tem")):
                check_training(self._training(replace(self.tem, training=training), self.data), work_dir / "tem")

    def train(self, work_dir: Path, *, resume: bool, observers: Observers) -> dict[str, float]:
        """Run the stages into `work_dir`/{tem,candidates,pem}; return PEM's metrics, of all stages together."""
        _refuse_earlier_stages(work_dir, resume=resume)
        with process_group(self.runtime) as process, StopRequest().listening() as stop:
            process.run_on_main(lambda: self._write_config(work_dir))
            log.info("1 of 3: TEM")
            with renaming_options(_option_names("tem")):
                train_network(self.stages()["tem"], work_dir=work_dir / "tem", resume=resume, observers=observers)
            raise_if_stop_requested(stop)
            log.info("2 of 3: candidates")
            candidates = work_dir / "candidates"
            generate_candidates(work_dir / "tem", candidates, self.pem.task.candidates, self.runtime)
            raise_if_stop_requested(stop)
            log.info("3 of 3: PEM")
            pem = self._training(self.pem, self._candidates(candidates))
            with renaming_options(_option_names("pem")):
                return train_network(pem, work_dir=work_dir / "pem", resume=resume, observers=observers)

    def _training(self, stage: Stage[Any, Any], data: FeatureData | ProposalData) -> LocalizationConfig[Any]:
        return TrainConfig(recipe=self.recipe, data=data, runtime=self.runtime, **vars(stage))

    def _candidates(self, folder: Path) -> ProposalData:
        shared = {each.name: getattr(self.data, each.name) for each in fields(LoadingOptions)}
        return ProposalData(**shared, proposals=str(folder), train_candidates=self.train_candidates)

    def _write_config(self, work_dir: Path) -> None:
        if file := resumable_config(work_dir):
            check_resumed(self, file)
        write_text(work_dir / "config.yaml", dump(self, recipe=self.recipe))
        write_pipeline(work_dir, model="pem")


def _refuse_earlier_stages(work_dir: Path, *, resume: bool) -> None:
    if not resume and any((work_dir / stage).exists() for stage in ("tem", "candidates", "pem")):
        raise UserError(f"{work_dir} holds a run already: add --resume to continue it, or choose another --work-dir")


def _option_names(stage: str) -> dict[str, str]:
    """Map the options of a stage's training, as messages name them, to the pipeline's; see `renaming_options`."""
    groups = ("model", "task", "optim", "schedule", "training")
    return {f"--{group}.": f"--{stage}.{group}." for group in groups}
