"""What the health actor measures and judges; pure functions over files and figures."""
