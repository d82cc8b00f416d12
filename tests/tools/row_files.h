#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "readers/row_reader.h"

namespace arfc::tools::test {

inline void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
    if (std::filesystem::is_regular_file(path)) {
        // Some file systems sync a file that is cut and written again.
        std::filesystem::remove(path);
    }
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

template <class T>
std::string as_bytes(const std::vector<T>& values) {
    std::string bytes(values.size() * sizeof(T), '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

/// Returns a .npy file as NumPy writes it, except that the header may lie about the data.
inline std::string npy_bytes(std::string_view header, std::string_view data, char version = 1) {
    const std::size_t fixed = version == 1 ? 10 : 12;
    std::string padded(header);
    while ((fixed + padded.size() + 1) % 64 != 0) {
        padded += ' ';
    }
    padded += '\n';
    std::string bytes("\x93NUMPY", 6);
    bytes += version;
    bytes += '\0';
    for (std::size_t i = 0; i < fixed - 8; ++i) {
        bytes += static_cast<char>(padded.size() >> (8 * i) & 0xFFU);
    }
    return bytes + padded + std::string(data);
}

inline std::string npy_header(
    std::string_view descr, std::string_view shape, std::string_view fortran_order = "False") {
    return "{'descr': '" + std::string(descr) +
           "', 'fortran_order': " + std::string(fortran_order) +
           ", 'shape': " + std::string(shape) + ", }";
}

/// Returns a float32 array [values.size() / dim, dim].
inline std::string npy_of(const std::vector<float>& values, std::size_t dim) {
    const std::string shape =
        "(" + std::to_string(values.size() / dim) + ", " + std::to_string(dim) + ")";
    return npy_bytes(npy_header("<f4", shape), as_bytes(values));
}

inline std::string fvecs_of(const std::vector<float>& values, std::size_t dim) {
    std::string bytes;
    for (std::size_t i = 0; i < values.size(); i += dim) {
        bytes += as_bytes(std::vector<std::int32_t>{static_cast<std::int32_t>(dim)});
        bytes += as_bytes(std::vector<float>(
            values.begin() + static_cast<std::ptrdiff_t>(i),
            values.begin() + static_cast<std::ptrdiff_t>(i + dim)));
    }
    return bytes;
}

inline std::string jsonl_of(const std::vector<float>& values, std::size_t dim) {
    std::string bytes;
    for (std::size_t i = 0; i < values.size(); ++i) {
        bytes += i % dim == 0 ? "{\"vector\": [" : ", ";
        bytes += std::to_string(values[i]);
        bytes += i % dim == dim - 1 ? "]}\n" : "";
    }
    return bytes;
}

/// A file in one of the formats, by the format's name.
inline std::string file_of(
    std::string_view format, const std::vector<float>& values, std::size_t dim) {
    return format == "npy"   ? npy_of(values, dim)
         : format == "fvecs" ? fvecs_of(values, dim)
                             : jsonl_of(values, dim);
}

/// Everything that a reader delivers, as one batch.
inline RowBatch read_all(RowReader& reader, std::size_t max_rows = 3) {
    RowBatch all{.dim = reader.dim()};
    RowBatch batch;
    while (reader.next(max_rows, batch)) {
        const auto append = [](auto& to, const auto& from) {
            to.insert(to.end(), from.begin(), from.end());
        };
        append(all.embeddings, batch.embeddings);
        append(all.rows, batch.rows);
        append(all.lines, batch.lines);
        append(all.ids, batch.ids);
        append(all.payloads, batch.payloads);
        append(all.rejected, batch.rejected);
    }
    return all;
}

} // namespace arfc::tools::test
