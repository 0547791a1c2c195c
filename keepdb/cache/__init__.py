"""The result cache: an LMDB map that query actors read and the cache actor writes. Disposable by design."""
