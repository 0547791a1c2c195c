"""The write path (design section 4): from a commit request to a receipt. Called by the writer actor only."""
