"""What arfc raises: one class per kind of error, each also the built-in exception that it is
nearest to.

Messages are sentences with the values at their end. Catch `ArfcError` for all of them, or the
built-in (`ValueError`, `OSError`, ...) where arfc is one library of several.
"""

from __future__ import annotations


class ArfcError(Exception):
    """Base of everything that arfc raises."""

    kind: str = "internal"
    """Stable name of the kind, the same in the REST answers and logs."""


class InvalidArgumentError(ArfcError, ValueError):
    """The request itself is wrong: a shape, a range, a syntax. Change it."""

    kind = "invalid_argument"


class NotFoundError(ArfcError, LookupError):
    """The named thing does not exist."""

    kind = "not_found"


class AlreadyExistsError(ArfcError):
    """The named thing exists and the request would create it."""

    kind = "already_exists"


class FailedPreconditionError(ArfcError, RuntimeError):
    """Right request, wrong state: not trained, closed, open elsewhere."""

    kind = "failed_precondition"


class UnsupportedError(ArfcError, NotImplementedError):
    """Understood, and not offered by this build, format or model."""

    kind = "unsupported"


class ResourceExhaustedError(ArfcError, MemoryError):
    """Memory, disk or a quota ran out; the same request may pass later."""

    kind = "resource_exhausted"


class CorruptionError(ArfcError):
    """Stored bytes are not what was written, or not of this format."""

    kind = "corruption"


class StorageIoError(ArfcError, OSError):
    """The operating system refused a read or a write."""

    kind = "io"


class InternalError(ArfcError):
    """A bug of arfc."""

    kind = "internal"


class AuthenticationError(ArfcError):
    """No valid credential."""

    kind = "unauthenticated"


class PermissionDeniedError(ArfcError, PermissionError):
    """The credential does not cover this."""

    kind = "permission_denied"


class DeadlineError(ArfcError, TimeoutError):
    """The caller's time limit passed."""

    kind = "deadline_exceeded"


class CancelledError(ArfcError):
    """The caller withdrew the request."""

    kind = "cancelled"
