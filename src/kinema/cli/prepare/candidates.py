"""`kinema prepare candidates MODEL --output FOLDER`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kinema.cli.arguments import parse
from kinema.tasks.localization.bsn.options import CandidateOptions

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Candidates:
    """Generate the candidates of BSN with a trained TEM, for the training and validation videos of that TEM.

    Writes one file per video, to train a bsn_pem recipe on (--data.proposals). After an interruption, run the command
    again to continue. `torchrun --nproc-per-node N -m kinema prepare candidates …` divides the videos over N processes.

    Example: kinema prepare candidates runs/tem --output runs/candidates
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A trained TEM: the work dir of a run, one of its checkpoints, a model.safetensors, or published weights
    (zoo:NAME)."""
    output: Path
    """Output folder: a new one, or that of an earlier call with the same options."""
    candidates: Annotated[CandidateOptions, tyro.conf.arg(name="")] = field(default_factory=CandidateOptions)
    """Generation and description of candidates."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the model; auto: a GPU if there is one."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the model."""


def run(arguments: Sequence[str]) -> int:
    """Generate the candidates."""
    options = parse(Candidates, arguments, command="prepare candidates")
    from kinema.runtime.device import RuntimeOptions
    from kinema.tasks.localization.bsn.candidates import generate_candidates
    from kinema.training.parallel.distributed import InterruptedRun

    runtime = RuntimeOptions(device=options.device, precision=options.precision)
    try:
        counts = generate_candidates(options.model, options.output, options.candidates, runtime)
    except InterruptedRun as interruption:
        log.warning("%s", interruption)
        return interruption.exit_code
    log.info("candidates of %d videos: %s", counts["videos"], options.output)
    return 0
