"""Export a trained run as models for other programs: ONNX, and `torch.export`."""
