"""What `keepdb demo` does: real text goes in, a writer is killed, and everything acknowledged is accounted for."""
