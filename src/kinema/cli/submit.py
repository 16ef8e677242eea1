"""`kinema submit RECIPE --nodes N --gpus-per-node G … [--group.option value …]`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from kinema import strict_json
from kinema.cli import train
from kinema.cli.arguments import parse, split
from kinema.cli.options_help import print_options, wants_help
from kinema.recipes import config_of
from kinema.slurm.options import SlurmOptions


@dataclass(kw_only=True)
class Options(SlurmOptions, train.Options):
    """Train on a Slurm cluster: `kinema submit RECIPE --nodes 2 --gpus-per-node 8 … [--group.option value …]`.

    Takes the options of `kinema train`, which are checked with the data before the job is queued. At its time limit
    or on preemption, the run saves a checkpoint, is requeued and resumes exactly.
    """

    dry_run: bool = False
    """Check all options and print the batch script without submitting it."""
    json: bool = False
    """Print the job as JSON."""


def run(arguments: Sequence[str]) -> int:
    """Submit a training."""
    own, keys = split(Options, arguments)
    if wants_help(own):
        print_options(config_of(own[0]), own, command="kinema submit")
        return 0
    options = parse(Options, own, command="submit")
    config = train.config_from(options, keys)
    from kinema.slurm.submit import batch_script, check, submit
    from kinema.training import default_work_dir

    work_dir = (options.work_dir or default_work_dir(config.recipe)).absolute()
    checked = check(config, options, work_dir=work_dir, resume=options.resume, init=options.init, given=keys)
    if options.dry_run:
        print(batch_script(checked, options, work_dir=work_dir))
        return 0
    job = submit(checked, options, work_dir=work_dir)
    if options.json:
        print(strict_json.dumps(dataclasses.asdict(job), default=str))
        return 0
    print(f"job     {job.job}\nlog     {job.log}\nfollow  tail -F {job.log}")
    print(f"state   squeue --job {job.job}\ncancel  scancel {job.job}")
    return 0
