"""Errors that tell a user what is wrong and what to do.

::

    FeatstoreError
    ├── InputError        (ValueError)        a flag, a file or a label that cannot be used
    ├── StoreNotFoundError (FileNotFoundError) no sealed store here
    ├── SchemaError       (ValueError)        a store of a schema this version cannot read
    ├── CorruptStoreError (ValueError)        bytes that disagree with the seal
    ├── BusyError         (RuntimeError)      another process is building the same store
    └── MissingPackageError (ImportError)     a package that an extra brings is not installed

Every message names what is wrong, the value, and what to do next. The command line prints it
and ends with exit code 2; no traceback is shown for any of them.
"""

from featstore.urls import without_credentials


class FeatstoreError(Exception):
    """Base of all errors that a user can fix."""

    def __str__(self) -> str:  # FileNotFoundError would show an errno tuple
        return without_credentials(str(self.args[0])) if self.args else ""


class InputError(FeatstoreError, ValueError):
    """A flag, a file, a label or a recipe is invalid."""


class StoreNotFoundError(FeatstoreError, FileNotFoundError):
    """There is no sealed store at this path or under this key."""


class SchemaError(FeatstoreError, ValueError):
    """The store was written in a schema that this version cannot read."""


class CorruptStoreError(FeatstoreError, ValueError):
    """The store's bytes disagree with its seal."""


class BusyError(FeatstoreError, RuntimeError):
    """Another process is building the same store."""


class MissingPackageError(FeatstoreError, ImportError):
    """A stage needs a package that is not installed."""
