"""What the commands share: options, output, errors, the way to a running database. No command stands here."""
