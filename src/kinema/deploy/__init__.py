"""Use of models elsewhere: export to ONNX and to programs of `torch.export`."""
