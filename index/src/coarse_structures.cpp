#include <array>
#include <charconv>
#include <optional>
#include <string>

#include "coarse_structure.h"
#include "hnsw_structure.h"
#include "nsg_structure.h"

namespace arfc {
namespace {

/// Reads what follows the prefix as one number in [least, most].
std::optional<std::size_t> number_after(
    std::string_view prefix, std::string_view text, std::size_t least, std::size_t most) {
    text.remove_prefix(prefix.size());
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool is_whole = error == std::errc() && end == text.data() + text.size();
    return is_whole && value >= least && value <= most ? std::optional(value) : std::nullopt;
}

std::optional<std::size_t> hnsw_links(std::string_view text) {
    return number_after("HNSW", text, HnswStructure::kLeastLinks, HnswStructure::kMostLinks);
}

std::string canonical_hnsw(std::size_t /*dim*/, std::string_view text) {
    const std::optional<std::size_t> links = hnsw_links(text);
    return links ? "HNSW" + std::to_string(*links) : "";
}

std::unique_ptr<CoarseStructure> make_hnsw(
    const Compressor& /*compressor*/, std::string_view text) {
    return std::make_unique<HnswStructure>(*hnsw_links(text));
}

std::optional<std::size_t> nsg_links(std::string_view text) {
    return number_after("NSG", text, NsgStructure::kLeastLinks, NsgStructure::kMostLinks);
}

std::string canonical_nsg(std::size_t /*dim*/, std::string_view text) {
    const std::optional<std::size_t> links = nsg_links(text);
    return links ? "NSG" + std::to_string(*links) : "";
}

std::unique_ptr<CoarseStructure> make_nsg(const Compressor& /*compressor*/, std::string_view text) {
    return std::make_unique<NsgStructure>(*nsg_links(text));
}

constexpr std::array<CoarseKind, 2> kKinds = {{
    {"HNSW", "HNSW<m> with m in [2, 256]", canonical_hnsw, make_hnsw},
    {"NSG", "NSG<m> with m in [4, 256]", canonical_nsg, make_nsg},
}};

} // namespace

std::span<const CoarseKind> coarse_kinds() noexcept {
    return kKinds;
}

const CoarseKind* find_coarse_kind(std::string_view text) noexcept {
    for (const CoarseKind& kind : kKinds) {
        if (text.starts_with(kind.prefix)) {
            return &kind;
        }
    }
    return nullptr;
}

} // namespace arfc
