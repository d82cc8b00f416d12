#include <array>

#include "arfc/base/error.h"
#include "arfc/storage/store.h"
#include "checks.h"
#include "memory_store.h"
#include "rocks_store.h"

namespace arfc::storage {
namespace {

constexpr std::array kBackends{
    Backend{"rocksdb", "Durable, in a directory of RocksDB files.", RocksStore::open},
    Backend{
        "memory", "Ends with the process; for trials and small, short-lived collections.",
        open_memory_store},
};

void check_options(const OpenOptions& options) {
    if (!options.create) {
        return;
    }
    if (options.read_only) {
        fail(
            ErrorKind::kInvalidArgument,
            "Store cannot be created read-only: ", options.directory.string());
    }
    check_shape(options.shape);
}

} // namespace

std::span<const Backend> backends() noexcept {
    return kBackends;
}

std::unique_ptr<Store> open_store(std::string_view backend, const OpenOptions& options) {
    for (const Backend& candidate : kBackends) {
        if (candidate.name != backend) {
            continue;
        }
        check_options(options);
        auto store = candidate.open(options);
        const std::string& expected = options.shape.model_id;
        if (!expected.empty() && store->shape().model_id != expected) {
            fail(
                ErrorKind::kFailedPrecondition,
                "Codes of the store were written by another model: ", options.directory.string(),
                ", model \"", store->shape().model_id, "\", expected \"", expected, "\"");
        }
        return store;
    }
    fail(
        ErrorKind::kInvalidArgument, "Store backend is not one of rocksdb, memory: \"", backend,
        "\"");
}

} // namespace arfc::storage
