#include <array>
#include <charconv>
#include <optional>
#include <string>

#include "arfc/base/error.h"
#include "coarse_structure.h"
#include "faiss_structure.h"
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
    std::size_t /*dim*/, Metric /*metric*/, std::string_view text) {
    return std::make_unique<HnswStructure>(*hnsw_links(text));
}

std::optional<std::size_t> nsg_links(std::string_view text) {
    return number_after("NSG", text, NsgStructure::kLeastLinks, NsgStructure::kMostLinks);
}

std::string canonical_nsg(std::size_t /*dim*/, std::string_view text) {
    const std::optional<std::size_t> links = nsg_links(text);
    return links ? "NSG" + std::to_string(*links) : "";
}

std::unique_ptr<CoarseStructure> make_nsg(
    std::size_t /*dim*/, Metric /*metric*/, std::string_view text) {
    return std::make_unique<NsgStructure>(*nsg_links(text));
}

std::string canonical_faiss(std::size_t dim, std::string_view text) {
    return FaissStructure::is_offered(dim, text) ? std::string(text) : "";
}

std::unique_ptr<CoarseStructure> make_faiss(std::size_t dim, Metric metric, std::string_view text) {
    return std::make_unique<FaissStructure>(dim, metric, text);
}

constexpr std::array<CoarseKind, 3> kKinds = {{
    {"HNSW", "HNSW<m> with m in [2, 256]", canonical_hnsw, make_hnsw},
    {"NSG", "NSG<m> with m in [4, 256]", canonical_nsg, make_nsg},
    {"", "IVF<n>, HNSW<m>, NSG<m>, or a FAISS string of an index that keeps rows", canonical_faiss,
     make_faiss},
}};

} // namespace

std::span<const CoarseKind> coarse_kinds() noexcept {
    return kKinds;
}

const CoarseKind& find_coarse_kind(std::string_view text) noexcept {
    for (const CoarseKind& kind : kKinds) {
        if (text.starts_with(kind.prefix) && !has_several_parts(text)) {
            return kind;
        }
    }
    return kKinds.back();
}

std::unique_ptr<CoarseStructure> make_coarse(
    std::size_t dim, Metric metric, std::string_view text) {
    const CoarseKind& kind = find_coarse_kind(text);
    if (kind.canonical(dim, text) != text) {
        fail(ErrorKind::kInvalidArgument, "Coarse part is not ", kind.expected, ": \"", text, "\"");
    }
    return kind.make(dim, metric, text);
}

} // namespace arfc
