#include "calibration_sample.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "arfc/base/half.h"
#include "arfc/base/sha256.h"
#include "byte_io.h"

namespace arfc {
namespace {

constexpr std::string_view kMagic = "ARFCCALI";
constexpr std::uint32_t kFormat = 0;
constexpr std::string_view kWhat = "Calibration sample";
constexpr std::size_t kDigestSize = 64;

/// Mixes a row's number: a bijection, so that no two rows have the same.
/// Source: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
std::uint64_t hash_of(std::uint64_t row) noexcept {
    std::uint64_t hash = row + 0x9E3779B97F4A7C15U;
    hash = (hash ^ hash >> 30U) * 0xBF58476D1CE4E5B9U;
    hash = (hash ^ hash >> 27U) * 0x94D049BB133111EBU;
    return hash ^ hash >> 31U;
}

} // namespace

void CalibrationSample::add(std::uint64_t first, MatrixView<const float> rows) {
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        const std::uint64_t hash = hash_of(first + i);
        if (hash >= below_) {
            continue;
        }
        Kept kept{.row = first + i};
        for (const float value : rows.row(i)) {
            kept.scale = std::max(kept.scale, std::fabs(value));
        }
        std::ranges::transform(rows.row(i), std::back_inserter(kept.halves), [&](float value) {
            return to_half(kept.scale > 0 ? value / kept.scale : 0.0F);
        });
        kept_.insert_or_assign(hash, std::move(kept));
        if (kept_.size() > kMostRows) {
            below_ = std::prev(kept_.end())->first;
            kept_.erase(std::prev(kept_.end()));
        }
    }
}

void CalibrationSample::erase(std::span<const std::uint64_t> rows) {
    for (const std::uint64_t row : rows) {
        kept_.erase(hash_of(row));
    }
}

void CalibrationSample::keep(const std::function<bool(std::uint64_t)>& is_live) {
    std::erase_if(kept_, [&](const auto& entry) { return !is_live(entry.second.row); });
}

std::size_t CalibrationSample::bytes() const noexcept {
    return kept_.size() * (dim_ * sizeof(std::uint16_t) + sizeof(std::uint64_t) + sizeof(float));
}

std::vector<float> CalibrationSample::values() const {
    std::vector<float> values;
    values.reserve(kept_.size() * dim_);
    for (const auto& [hash, kept] : kept_) {
        for (const std::uint16_t half : kept.halves) {
            values.push_back(from_half(half) * kept.scale);
        }
    }
    return values;
}

std::string CalibrationSample::save() const {
    ByteWriter out;
    out.array(std::span<const char>(kMagic));
    out.number(kFormat);
    out.number(static_cast<std::uint32_t>(dim_));
    out.number(below_);
    out.number(static_cast<std::uint64_t>(kept_.size()));
    for (const auto& [hash, kept] : kept_) {
        out.number(kept.row);
        out.number(kept.scale);
        out.array(std::span<const std::uint16_t>(kept.halves));
    }
    const std::string digest = sha256_hex(out.bytes());
    out.array(std::span<const char>(digest));
    return std::move(out).take();
}

CalibrationSample CalibrationSample::restore(std::string_view bytes, std::size_t dim) {
    if (bytes.size() < kMagic.size() + sizeof(kFormat) + kDigestSize ||
        bytes.substr(0, kMagic.size()) != kMagic) {
        fail(
            ErrorKind::kCorruption,
            "Calibration sample does not begin as one, or is too short, in bytes: ", bytes.size());
    }
    const std::string_view content = bytes.substr(0, bytes.size() - kDigestSize);
    ByteReader in(content, kWhat);
    (void)in.array<char>(kMagic.size());
    if (const auto format = in.number<std::uint32_t>(); format > kFormat) {
        fail(
            ErrorKind::kUnsupported, "Calibration sample is of a newer format: ", format,
            ", this version reads up to ", kFormat);
    }
    if (sha256_hex(content) != bytes.substr(content.size())) {
        fail(
            ErrorKind::kCorruption,
            "Calibration sample differs from its checksum; bytes: ", bytes.size());
    }
    const auto width = in.number<std::uint32_t>();
    in.require(width == dim, "width ", width, ", expected ", dim);
    CalibrationSample sample(dim);
    sample.below_ = in.number<std::uint64_t>();
    const auto rows = in.number<std::uint64_t>();
    in.require(rows <= kMostRows, "rows ", rows, ", expected at most ", kMostRows);
    for (std::uint64_t i = 0; i < rows; ++i) {
        Kept kept{.row = in.number<std::uint64_t>(), .scale = in.number<float>()};
        kept.halves = in.array<std::uint16_t>(dim);
        in.require(
            std::isfinite(kept.scale) && hash_of(kept.row) < sample.below_, "row ", kept.row);
        sample.kept_.emplace(hash_of(kept.row), std::move(kept));
    }
    in.finish();
    return sample;
}

} // namespace arfc
