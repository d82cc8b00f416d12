#include "arfc/index/parameter_space.h"

#include <faiss/IndexReplicas.h>
#include <faiss/IndexShards.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "arfc/base/error.h"
#include "arfc/index/arfc_index.h"
#include "faiss_errors.h"
#include "staged_index.h"
#include "wrappers.h"

namespace arfc {
namespace {

constexpr std::string_view kLimit = "limit";
constexpr double kMostExplored = 5000;          // Rows; defaults go beyond only where they must.
constexpr double kMostValue = 9007199254740992; // 2^53: whole numbers that a double tells apart.

/// Returns the indexes that a parameter of this one is for: itself, or those behind it.
std::vector<faiss::Index*> targets(faiss::Index& index) {
    faiss::Index& inner = innermost(index);
    std::vector<faiss::Index*> found;
    const auto append_children = [&](auto& parent) {
        for (int i = 0; i < parent.count(); ++i) {
            const std::vector<faiss::Index*> more = targets(*parent.at(i));
            found.insert(found.end(), more.begin(), more.end());
        }
    };
    if (auto* const shards = dynamic_cast<faiss::IndexShards*>(&inner)) {
        append_children(*shards);
    } else if (auto* const replicas = dynamic_cast<faiss::IndexReplicas*>(&inner)) {
        append_children(*replicas);
    } else {
        found.push_back(&inner);
    }
    return found;
}

std::size_t whole(const std::string& name, double value) {
    if (!(value >= 1 && value <= kMostValue) || value != std::floor(value)) {
        fail(
            ErrorKind::kInvalidArgument, "Parameter is not a whole number of at least 1: ", name,
            " = ", value);
    }
    return static_cast<std::size_t>(value);
}

/// Reads "limit16". @returns the bytes, or nothing where it is another name.
std::optional<std::size_t> limit_bytes(std::string_view name) {
    if (!name.starts_with(kLimit)) {
        return std::nullopt;
    }
    std::size_t bytes = 0;
    const char* const end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + kLimit.size(), end, bytes);
    return error == std::errc() && stop == end ? std::optional(bytes) : std::nullopt;
}

void set_nprobe(ArfcIndex& index, std::size_t value) {
    if (index.nlist() == 0) {
        fail(
            ErrorKind::kUnsupported,
            "Index has no inverted lists, so nprobe cannot be chosen: ", index.factory());
    }
    if (value > index.nlist()) {
        fail(
            ErrorKind::kInvalidArgument, "Number of lists to probe is outside [1, ", index.nlist(),
            "]: ", value);
    }
    index.search_defaults.nprobe = value;
}

void set_ef_search(ArfcIndex& index, std::size_t value) {
    if (!index.has_graph()) {
        fail(
            ErrorKind::kUnsupported,
            "Index has no graph, so efSearch cannot be chosen: ", index.factory());
    }
    if (value > kMostEfSearch) {
        fail(ErrorKind::kInvalidArgument, "efSearch is outside [1, ", kMostEfSearch, "]: ", value);
    }
    index.search_defaults.ef_search = value;
}

void set_limit(ArfcIndex& index, std::size_t bytes, std::size_t value) {
    const std::vector<Stage> stages = index.default_stages();
    const auto stage = std::ranges::find(stages, bytes, &Stage::bytes);
    if (stage == stages.end() || stage + 1 == stages.end()) {
        fail(
            ErrorKind::kInvalidArgument,
            stage == stages.end()
                ? "Index has no stage of so many bytes: "
                : "Last stage keeps the rows that are asked for, no other number: ",
            bytes, " of ", index.factory());
    }
    index.search_defaults.limits[bytes] = value;
}

void set(ArfcIndex& index, const std::string& name, double value) {
    if (name == "verbose") {
        index.verbose = value != 0;
    } else if (name == "nprobe") {
        set_nprobe(index, whole(name, value));
    } else if (const std::optional<std::size_t> bytes = limit_bytes(name)) {
        set_limit(index, *bytes, whole(name, value));
    } else if (name == "efSearch") {
        set_ef_search(index, whole(name, value));
    } else {
        fail(
            ErrorKind::kInvalidArgument,
            "ARFC indexes have the parameters nprobe, efSearch and limit<bytes>, not: ", name);
    }
}

void add_nprobe(faiss::ParameterRange& range, std::size_t nlist) {
    for (std::size_t value = 1; value < nlist; value *= 2) {
        range.values.push_back(static_cast<double>(value));
    }
    range.values.push_back(static_cast<double>(nlist));
}

/// FAISS's own values.
void add_ef_search(faiss::ParameterRange& range) {
    for (double value = 4; value <= 512; value *= 2) {
        range.values.push_back(value);
    }
}

void add_limits(faiss::ParameterRange& range, double rows) {
    range.values.push_back(10);
    for (double decade = 10; decade <= kMostExplored; decade *= 10) {
        for (const double value : {2 * decade, 5 * decade, 10 * decade}) {
            if (value <= std::min(rows, kMostExplored)) {
                range.values.push_back(value);
            }
        }
    }
}

} // namespace

void ParameterSpace::initialize(const faiss::Index* index) {
    if (index == nullptr) {
        fail(ErrorKind::kInvalidArgument, "Parameters are asked of no index (a null pointer)");
    }
    // targets() changes nothing; what it returns is only looked at here.
    const std::vector<faiss::Index*> found = targets(const_cast<faiss::Index&>(*index));
    const auto* const arfc = found.empty() ? nullptr : dynamic_cast<ArfcIndex*>(found.front());
    if (arfc == nullptr) {
        translate_faiss(ErrorKind::kUnsupported, "FAISS knows no parameters of this index", [&] {
            faiss::ParameterSpace::initialize(found.empty() ? index : found.front());
        });
        return;
    }
    if (arfc->nlist() > 1) {
        add_nprobe(add_range("nprobe"), arfc->nlist());
    }
    if (arfc->has_graph()) {
        add_ef_search(add_range("efSearch"));
    }
    const std::vector<Stage> stages = arfc->default_stages();
    for (std::size_t i = 0; i + 1 < stages.size(); ++i) {
        add_limits(
            add_range(std::string(kLimit) + std::to_string(stages[i].bytes)),
            static_cast<double>(arfc->ntotal));
    }
}

void ParameterSpace::set_index_parameter(
    faiss::Index* index, const std::string& name, double val) const {
    if (index == nullptr) {
        fail(ErrorKind::kInvalidArgument, "Parameter is set on no index (a null pointer): ", name);
    }
    for (faiss::Index* const target : targets(*index)) {
        if (auto* const arfc = dynamic_cast<ArfcIndex*>(target)) {
            set(*arfc, name, val);
        } else {
            translate_faiss(ErrorKind::kUnsupported, "FAISS does not set this parameter", [&] {
                faiss::ParameterSpace::set_index_parameter(target, name, val);
            });
        }
    }
}

} // namespace arfc
