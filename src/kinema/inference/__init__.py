"""What a trained model is for: test, predict, and the pictures of both."""
