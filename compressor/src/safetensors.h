#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace arfc {

/// A tensor by name, as in a safetensors file.
struct StoredTensor {
    std::vector<std::size_t> shape;
    std::vector<float> values; ///< Row-major; as many as the shape says.
    bool as_half = false; ///< The file holds float16 numbers; they must be that, every one, to be
                          ///< written.
};

/// Returns the bytes of a safetensors file: an 8-byte little-endian header length, a JSON header,
/// then the values. Tensors stand in the order of their names, so equal tensors give equal bytes.
/// Source: the format description of the safetensors project (version 0.4).
[[nodiscard]] std::string write_safetensors(const std::map<std::string, StoredTensor>& tensors);

/// Reads a safetensors file; every size is checked against the others and the file before anything
/// is allocated.
/// @throws Error  kCorruption: not such a file, or its sizes contradict each other.
///                kUnsupported: a tensor is neither float32 nor float16.
[[nodiscard]] std::map<std::string, StoredTensor> read_safetensors(std::string_view bytes);

} // namespace arfc
