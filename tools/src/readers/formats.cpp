#include <array>

#include "arfc/base/error.h"
#include "readers/row_reader.h"

namespace arfc::tools {
namespace {

constexpr std::array<RowFormat, 3> kFormats = {{
    {"npy", "NumPy array [rows, dim] of float16, float32 or float64, in C order", ".npy",
     readers::open_npy},
    {"fvecs", "TEXMEX vectors: each row an int32 width and as many float32", ".fvecs",
     readers::open_fvecs},
    {"jsonl",
     R"(a line a row: {"id": 7, "vector": [...], "payload": {...}}; vector only is a must)",
     ".jsonl", readers::open_jsonl},
}};

const RowFormat& find_format(const std::filesystem::path& path, std::string_view name) {
    for (const RowFormat& format : kFormats) {
        if (name == format.name || (name == "auto" && path.extension() == format.extension)) {
            return format;
        }
    }
    if (name == "auto") {
        fail(
            ErrorKind::kInvalidArgument,
            "The file's extension does not tell its format, which is one of ", row_format_names(),
            ": ", path.string());
    }
    fail(
        ErrorKind::kInvalidArgument, "Format is not one of ", row_format_names(), ": \"", name,
        "\"");
}

} // namespace

std::span<const RowFormat> row_formats() noexcept {
    return kFormats;
}

std::string row_format_names() {
    std::string names = "auto";
    for (const RowFormat& format : kFormats) {
        names += ", ";
        names += format.name;
    }
    return names;
}

std::unique_ptr<RowReader> open_rows(
    const std::filesystem::path& path, std::string_view format, std::optional<std::size_t> dim) {
    return find_format(path, format).open(path, dim);
}

void readers::require_dim(
    std::uint64_t found, std::optional<std::size_t> wanted, const std::filesystem::path& path) {
    if (found == 0 || found > kMaxDim) {
        fail(
            ErrorKind::kInvalidArgument, "Embedding width of ", path.string(),
            " is out of range: ", found, ", expected 1 to ", kMaxDim);
    }
    if (wanted && found != *wanted) {
        fail(
            ErrorKind::kInvalidArgument, "Embedding width of ", path.string(),
            " differs from the one wanted: ", found, ", expected ", *wanted);
    }
}

void RowBatch::clear() {
    embeddings.clear();
    rows.clear();
    lines.clear();
    ids.clear();
    payloads.clear();
    rejected.clear();
}

void RowBatch::reject(std::span<const std::optional<std::string>> reasons) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < reasons.size(); ++i) {
        if (reasons[i]) {
            rejected.push_back(
                {.row = rows[i],
                 .line = lines.empty() ? std::optional<std::uint64_t>() : lines[i],
                 .reason = *reasons[i]});
            continue;
        }
        if (kept != i) {
            std::copy_n(
                embeddings.begin() + static_cast<std::ptrdiff_t>(i * dim), dim,
                embeddings.begin() + static_cast<std::ptrdiff_t>(kept * dim));
            rows[kept] = rows[i];
            ids[kept] = ids[i];
            payloads[kept] = std::move(payloads[i]);
            if (!lines.empty()) {
                lines[kept] = lines[i];
            }
        }
        ++kept;
    }
    embeddings.resize(kept * dim);
    rows.resize(kept);
    ids.resize(kept);
    payloads.resize(kept);
    lines.resize(lines.empty() ? 0 : kept);
}

} // namespace arfc::tools
