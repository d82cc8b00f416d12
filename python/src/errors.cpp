#include <nanobind/stl/string.h>

#include <array>

#include "bindings.h"

namespace arfc::python {

namespace {

constexpr std::array kKinds{
    ErrorKind::kInvalidArgument,  ErrorKind::kNotFound,
    ErrorKind::kAlreadyExists,    ErrorKind::kFailedPrecondition,
    ErrorKind::kUnsupported,      ErrorKind::kResourceExhausted,
    ErrorKind::kCorruption,       ErrorKind::kIo,
    ErrorKind::kInternal,         ErrorKind::kUnauthenticated,
    ErrorKind::kPermissionDenied, ErrorKind::kDeadlineExceeded,
    ErrorKind::kCancelled,
};
static_assert(kKinds.size() == static_cast<std::size_t>(ErrorKind::kCancelled) + 1);

/// Returns the name of the kind's class in `arfc.errors`.
const char* class_name(ErrorKind kind) noexcept {
    switch (kind) {
        case ErrorKind::kInvalidArgument: return "InvalidArgumentError";
        case ErrorKind::kNotFound: return "NotFoundError";
        case ErrorKind::kAlreadyExists: return "AlreadyExistsError";
        case ErrorKind::kFailedPrecondition: return "FailedPreconditionError";
        case ErrorKind::kUnsupported: return "UnsupportedError";
        case ErrorKind::kResourceExhausted: return "ResourceExhaustedError";
        case ErrorKind::kCorruption: return "CorruptionError";
        case ErrorKind::kIo: return "StorageIoError";
        case ErrorKind::kInternal: return "InternalError";
        case ErrorKind::kUnauthenticated: return "AuthenticationError";
        case ErrorKind::kPermissionDenied: return "PermissionDeniedError";
        case ErrorKind::kDeadlineExceeded: return "DeadlineError";
        case ErrorKind::kCancelled: return "CancelledError";
    }
    return "InternalError";
}

void translate(const std::exception_ptr& pointer, void* /*payload*/) {
    try {
        std::rethrow_exception(pointer);
    } catch (const Error& error) {
        const nb::object type = nb::module_::import_("arfc.errors").attr(class_name(error.kind()));
        PyErr_SetString(type.ptr(), error.what());
    }
}

} // namespace

void register_errors(nb::module_& module) {
    nb::register_exception_translator(translate);
    module.def(
        "error_kinds",
        [] {
            nb::list kinds;
            for (const ErrorKind kind : kKinds) {
                kinds.append(nb::make_tuple(class_name(kind), std::string(to_string(kind))));
            }
            return kinds;
        },
        "Returns (name of the class in arfc.errors, stable name of the kind) of every kind.");
}

ProgressFunction progress_function(const nb::object& callback) {
    // The borrowed handle, not the object: copies of the function are made and dropped without the
    // lock.
    return [handle = nb::handle(callback)](const Progress& progress) {
        const nb::gil_scoped_acquire lock;
        if (PyErr_CheckSignals() != 0) {
            throw nb::python_error();
        }
        if (handle.is_none()) {
            return true;
        }
        const auto number = [](const std::optional<double>& value) {
            return value ? nb::object(nb::float_(*value)) : nb::none();
        };
        return nb::cast<bool>(handle(
            nb::str(progress.stage.data(), progress.stage.size()), progress.done, progress.total,
            number(progress.error), number(progress.held_out_recall),
            number(progress.seconds_left)));
    };
}

} // namespace arfc::python
