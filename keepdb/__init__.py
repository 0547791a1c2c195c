"""KeepDB's core: whatever is neither a message nor an actor.

Imports run one way: `messages <- keepdb <- actors <- supervisor`; nothing in here may import an actor.
"""

__version__ = "0.1.0"
