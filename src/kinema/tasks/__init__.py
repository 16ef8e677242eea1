"""What models are trained for: a folder for each task, with its options, data, loss, validation, metrics and predictor.

`TaskOptions` in `kinema.training.task` is what a task has to offer.
"""

TASKS = {
    "recognition": "kinema.tasks.recognition.options:RecognitionOptions",
    "pretraining": "kinema.tasks.pretraining.options:PretrainingOptions",
    "bmn": "kinema.tasks.localization.bmn:BMNTask",
    "tem": "kinema.tasks.localization.bsn.tem:TEMTask",
    "pem": "kinema.tasks.localization.bsn.pem:PEMTask",
    "actionformer": "kinema.tasks.localization.detectors.task:ActionFormerTask",
    "tridet": "kinema.tasks.localization.detectors.task:TriDetTask",
}
"""Name in `model.json` → address of the task's options."""
