"""Every kind of error has its class, its built-in base and its stable name."""

from __future__ import annotations

import arfc
import pytest

TABLE = {
    arfc.InvalidArgumentError: (ValueError, "invalid_argument"),
    arfc.NotFoundError: (LookupError, "not_found"),
    arfc.AlreadyExistsError: (Exception, "already_exists"),
    arfc.FailedPreconditionError: (RuntimeError, "failed_precondition"),
    arfc.UnsupportedError: (NotImplementedError, "unsupported"),
    arfc.ResourceExhaustedError: (MemoryError, "resource_exhausted"),
    arfc.CorruptionError: (Exception, "corruption"),
    arfc.StorageIoError: (OSError, "io"),
    arfc.InternalError: (Exception, "internal"),
    arfc.AuthenticationError: (Exception, "unauthenticated"),
    arfc.PermissionDeniedError: (PermissionError, "permission_denied"),
    arfc.DeadlineError: (TimeoutError, "deadline_exceeded"),
    arfc.CancelledError: (Exception, "cancelled"),
}


@pytest.mark.parametrize("kind", TABLE)
def test_a_kind_is_an_arfc_error_and_its_builtin(kind):
    builtin, name = TABLE[kind]
    error = kind("Sentence with a value: 3")
    assert isinstance(error, arfc.ArfcError) and isinstance(error, builtin)
    assert error.kind == name
    assert str(error) == "Sentence with a value: 3"


def test_the_native_module_knows_the_same_kinds():
    named = dict(arfc._arfc.error_kinds())
    assert named == {kind.__name__: name for kind, (_, name) in TABLE.items()}
