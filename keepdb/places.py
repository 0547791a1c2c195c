"""Names of files in a data directory that more than one part of the program opens."""

from typing import Final

KEYRING_FILE: Final = "keyring.json"
SCHEMA_FILE: Final = "schema.yaml"
