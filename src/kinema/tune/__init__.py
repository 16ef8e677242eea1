"""Search of hyper-parameters with Optuna: `kinema tune`."""
