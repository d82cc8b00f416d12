#include "safetensors.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>

#include "arfc/base/error.h"
#include "arfc/base/half.h"

namespace arfc {
namespace {

static_assert(
    std::endian::native == std::endian::little, "values are copied as they lie in memory");

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 1U << 20U;
constexpr std::size_t kMaxRank = 8;

[[noreturn]] void fail_corrupt(std::string_view what) {
    fail(ErrorKind::kCorruption, "Weights file is not a valid safetensors file: ", what);
}

/// Multiplies a shape out, refusing what cannot fit `limit` elements.
std::size_t element_count(const std::vector<std::size_t>& shape, std::size_t limit) {
    std::size_t count = 1;
    for (const std::size_t extent : shape) {
        if (extent != 0 && count > limit / extent) {
            fail_corrupt("a tensor's shape exceeds the file");
        }
        count *= extent;
    }
    return count;
}

std::size_t number_bytes(const StoredTensor& tensor) {
    return tensor.as_half ? sizeof(std::uint16_t) : sizeof(float);
}

StoredTensor read_tensor(
    const std::string& name, const nlohmann::json& entry, std::string_view data) {
    if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
        !entry.contains("data_offsets")) {
        fail_corrupt("an entry lacks dtype, shape or data_offsets");
    }
    StoredTensor tensor;
    tensor.as_half = entry["dtype"] == "F16";
    if (!tensor.as_half && entry["dtype"] != "F32") {
        fail(ErrorKind::kUnsupported, "Tensor is neither float32 nor float16: ", name);
    }
    tensor.shape = entry["shape"].get<std::vector<std::size_t>>();
    const auto offsets = entry["data_offsets"].get<std::vector<std::size_t>>();
    if (tensor.shape.size() > kMaxRank || offsets.size() != 2 || offsets[0] > offsets[1] ||
        offsets[1] > data.size()) {
        fail_corrupt("an entry's offsets lie outside the file");
    }
    const std::size_t count = element_count(tensor.shape, data.size() / number_bytes(tensor));
    if (count * number_bytes(tensor) != offsets[1] - offsets[0]) {
        fail_corrupt("an entry's shape and offsets differ");
    }
    tensor.values.resize(count);
    const char* const from = data.data() + offsets[0];
    if (tensor.as_half) {
        for (std::size_t i = 0; i < count; ++i) {
            std::uint16_t half = 0;
            std::memcpy(&half, from + i * sizeof half, sizeof half);
            tensor.values[i] = from_half(half);
        }
    } else if (count > 0) {
        std::memcpy(tensor.values.data(), from, count * sizeof(float));
    }
    return tensor;
}

void append_values(const StoredTensor& tensor, std::string& out) {
    if (!tensor.as_half) {
        out.append(
            reinterpret_cast<const char*>(tensor.values.data()),
            tensor.values.size() * sizeof(float));
        return;
    }
    for (const float value : tensor.values) {
        const std::uint16_t half = to_half(value);
        out.append(reinterpret_cast<const char*>(&half), sizeof half);
    }
}

} // namespace

std::string write_safetensors(const std::map<std::string, StoredTensor>& tensors) {
    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    std::size_t offset = 0;
    for (const auto& [name, tensor] : tensors) {
        const std::size_t bytes = tensor.values.size() * number_bytes(tensor);
        header[name] = {
            {"dtype", tensor.as_half ? "F16" : "F32"},
            {"shape", tensor.shape},
            {"data_offsets", {offset, offset + bytes}}};
        offset += bytes;
    }
    std::string text = header.dump();
    // Keeps the values aligned.
    text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');
    const std::uint64_t length = text.size();
    std::string out(kLengthBytes, '\0');
    std::memcpy(out.data(), &length, kLengthBytes);
    out += text;
    for (const auto& [name, tensor] : tensors) {
        append_values(tensor, out);
    }
    return out;
}

std::map<std::string, StoredTensor> read_safetensors(std::string_view bytes) {
    std::uint64_t length = 0;
    if (bytes.size() < kLengthBytes) {
        fail_corrupt("it is shorter than its length field");
    }
    std::memcpy(&length, bytes.data(), kLengthBytes);
    if (length > kMaxHeaderBytes || length > bytes.size() - kLengthBytes) {
        fail_corrupt("its header is longer than the file");
    }
    const std::string_view data = bytes.substr(kLengthBytes + length);
    std::map<std::string, StoredTensor> tensors;
    std::size_t covered = 0;
    try {
        const nlohmann::json header = nlohmann::json::parse(bytes.substr(kLengthBytes, length));
        for (const auto& [name, entry] : header.items()) {
            if (name == "__metadata__") {
                continue;
            }
            StoredTensor tensor = read_tensor(name, entry, data);
            covered += tensor.values.size() * number_bytes(tensor);
            tensors.emplace(name, std::move(tensor));
        }
    } catch (const nlohmann::json::exception&) {
        fail_corrupt("its header is not the JSON that the format asks for");
    }
    if (covered != data.size()) {
        fail_corrupt("it holds bytes that no tensor names");
    }
    return tensors;
}

} // namespace arfc
