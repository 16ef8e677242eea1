"""What a report says of pre-training: its data, what it reconstructs, its test."""

from collections.abc import Sequence
from shlex import quote

from kinema.data.dataset import open_train_index, open_val_index
from kinema.errors import StorageOutage, UserError
from kinema.report.page.content import LOSS, Figures, Metric, Note, ReportedRun, Section, metric_text
from kinema.report.page.pictures import validation_pictures

MAIN_METRICS: Sequence[Metric] = (LOSS,)

_LEADS = {
    "reconstruction": "Of each clip some frames, below them what the encoder sees of these, and below that what the "
    "decoder makes of the rest. Tokens have the brightness and contrast of the true ones where these are normalized."
}


def describe(tested: ReportedRun) -> list[Section]:
    """Return the sections of a report on pre-training."""
    sections = [_data(tested), *validation_pictures(tested, _LEADS)]
    if tested.metrics:
        figures = [(name, metric_text(value, name)) for name, value in tested.metrics.items()]
        sections.append(Section(title="Test", blocks=[Figures(values=figures)]))
    text = (
        "The network knows no classes yet. What it has learned is measured by fine-tuning, with a recipe of VideoMAE:"
    )
    command = f"kinema train RECIPE --init {quote(str(tested.run))}"
    return [*sections, Section(title="Fine-tuning", blocks=[Note(text=text, command=command)])]


def _data(tested: ReportedRun) -> Section:
    options, task, model = (getattr(tested.description, name) for name in ("data", "task", "model"))
    try:
        train = open_train_index(options, labels="none")
        val = open_val_index(options, None, labels="none") if options.val or options.divides else None
    except (UserError, StorageOutage) as error:
        text = f"The lists of videos cannot be read here, so that their numbers are not shown: {error}"
        return Section(title="Data", blocks=[Note(text=text)])
    figures = [
        ("training videos", f"{len(train):,}"),
        ("validation videos", f"{len(val):,}" if val is not None else "–"),
        ("clip", f"{model.frames} × {model.size}²"),
        ("hidden tokens", f"{task.mask_ratio:.0%}"),
    ]
    return Section(title="Data", blocks=[Figures(values=figures)])
