#include "factory_spec.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "arfc/base/error.h"
#include "coarse_structure.h"

namespace arfc {
namespace {

constexpr std::string_view kArfc = "ARFC";
constexpr std::size_t kMostBytes = 1024; // As Compressor::train takes.
constexpr std::size_t kMostLists = std::size_t{1} << 24;
constexpr std::size_t kMostDim = 65536;

/// Reads a description from left to right and knows the column for its messages.
class Parser {
  public:
    Parser(std::size_t dim, std::string_view text) : dim_(dim), text_(text) {}

    FactorySpec parse() {
        FactorySpec spec;
        if (take("IDMap2,")) {
            spec.id_map = IdMap::kIdMap2;
        } else if (take("IDMap,")) {
            spec.id_map = IdMap::kIdMap;
        }
        if (!take(kArfc)) {
            refuse_what_stands_before();
        }
        spec.stage_bytes = sizes();
        spec.error_radii = take("_R");
        if (take(",")) {
            coarse(spec);
        }
        if (position_ < text_.size()) {
            refuse(position_, "expected the end");
        }
        return spec;
    }

  private:
    [[noreturn]] void refuse(std::size_t position, std::string_view expected) const {
        fail(
            ErrorKind::kInvalidArgument, "Factory string is wrong at column ", position + 1, ", ",
            expected, ": \"", text_, "\"");
    }

    [[noreturn]] void refuse_what_stands_before() const {
        const std::size_t start = std::min(text_.find(kArfc, position_), text_.size());
        const std::string_view before = text_.substr(position_, start - position_);
        if (before.starts_with("IVF") || before.starts_with("HNSW") || before.starts_with("NSG")) {
            refuse(
                position_,
                "expected ARFC first and the coarse part after it, as in \"ARFC96/16,IVF256\"");
        }
        if (before.empty() || !before.ends_with(',')) {
            refuse(position_, "expected ARFC<size>");
        }
        fail(
            ErrorKind::kUnsupported,
            "Transforms stand before ARFC in indexes only, and of wrappers IDMap and IDMap2 alone: "
            "\"",
            before.substr(0, before.size() - 1), "\" in \"", text_, "\"");
    }

    bool take(std::string_view word) {
        if (text_.substr(position_).starts_with(word)) {
            position_ += word.size();
            return true;
        }
        return false;
    }

    /// @returns the digits' value, or nothing where there are none or they overflow.
    std::optional<std::size_t> number() {
        std::size_t value = 0;
        const char* const begin = text_.data() + position_;
        const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
        if (error != std::errc()) {
            return std::nullopt;
        }
        position_ += static_cast<std::size_t>(end - begin);
        return value;
    }

    /// Reads "96" or "x16", in bytes.
    std::size_t size() {
        const std::size_t start = position_;
        const bool is_ratio = take("x");
        const std::optional<std::size_t> value = number();
        if (!value || *value == 0) {
            refuse(start, "expected a size such as 96 (bytes) or x16 (ratio)");
        }
        const std::size_t bytes = is_ratio ? 4 * dim_ / *value : *value;
        if (bytes < 1 || bytes > kMostBytes) {
            refuse(start, "expected a code of 1 to 1024 bytes, found " + std::to_string(bytes));
        }
        return bytes;
    }

    std::vector<std::size_t> sizes() {
        std::vector<std::size_t> descending{size()};
        while (take("/")) {
            const std::size_t start = position_;
            const std::size_t bytes = size();
            if (bytes >= descending.back()) {
                refuse(
                    start, "expected a prefix shorter than the " +
                               std::to_string(descending.back()) + " bytes before it, found " +
                               std::to_string(bytes));
            }
            descending.push_back(bytes);
        }
        return {descending.rbegin(), descending.rend()};
    }

    void coarse(FactorySpec& spec) {
        const std::size_t start = position_;
        const std::string_view rest = text_.substr(start);
        if (has_several_parts(rest) || !take("IVF")) {
            const CoarseKind& kind = find_coarse_kind(rest);
            spec.coarse = kind.canonical(dim_, rest);
            if (spec.coarse.empty()) {
                refuse(start, "expected " + std::string(kind.expected));
            }
            position_ = text_.size();
            return;
        }
        const std::optional<std::size_t> nlist = number();
        if (!nlist || *nlist < 1 || *nlist > kMostLists) {
            refuse(start + 3, "expected a number of lists in [1, 16777216]");
        }
        spec.nlist = *nlist;
    }

    std::size_t dim_;
    std::string_view text_;
    std::size_t position_ = 0;
};

} // namespace

bool names_arfc(std::string_view description) noexcept {
    return description.starts_with(kArfc) || description.find(",ARFC") != std::string_view::npos;
}

FactorySpec parse_factory(std::size_t dim, std::string_view description) {
    if (dim < 1 || dim > kMostDim) {
        fail(ErrorKind::kInvalidArgument, "Embedding width is outside [1, ", kMostDim, "]: ", dim);
    }
    return Parser(dim, description).parse();
}

std::string to_string(const FactorySpec& spec) {
    std::string text = spec.id_map == IdMap::kIdMap2 ? "IDMap2,"
                     : spec.id_map == IdMap::kIdMap  ? "IDMap,"
                                                     : "";
    text += kArfc;
    for (auto bytes = spec.stage_bytes.rbegin(); bytes != spec.stage_bytes.rend(); ++bytes) {
        text.append(bytes == spec.stage_bytes.rbegin() ? "" : "/").append(std::to_string(*bytes));
    }
    text.append(spec.error_radii ? "_R" : "");
    if (spec.nlist > 0) {
        text.append(",IVF").append(std::to_string(spec.nlist));
    }
    if (!spec.coarse.empty()) {
        text.append(",").append(spec.coarse);
    }
    return text;
}

} // namespace arfc
