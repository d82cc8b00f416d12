#include "head_sketches.h"

#include <faiss/VectorTransform.h>
#include <faiss/utils/distances.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "faiss_errors.h"

namespace arfc {
namespace {

constexpr std::size_t kMostAxes = 128;
constexpr std::size_t kLeastAxes = 16;
constexpr std::size_t kMostFloats = std::size_t{4} << 20; // 16 MB of symbols, at any head length.
constexpr std::size_t kRandomCodes = 1024;

/// @returns [axes, dim] directions of unit length in which random codes' reconstructions vary most.
std::vector<float> principal_axes(
    const Compressor& compressor, std::size_t head_bytes, std::size_t axes) {
    const std::size_t dim = compressor.dim();
    std::mt19937 random(1);
    std::vector<std::byte> codes(kRandomCodes * head_bytes);
    std::ranges::generate(codes, [&] { return static_cast<std::byte>(random() & 255U); });
    std::vector<float> rows(kRandomCodes * dim);
    compressor.decode({codes.data(), kRandomCodes, head_bytes}, {rows.data(), kRandomCodes, dim});
    faiss::PCAMatrix pca(static_cast<int>(dim), static_cast<int>(axes));
    pca.train(static_cast<std::int64_t>(kRandomCodes), rows.data());
    std::vector<float> found = pca.A;
    found.resize(axes * dim);
    for (std::size_t i = 0; i < axes; ++i) {
        const std::span<float> axis = std::span(found).subspan(i * dim, dim);
        double squares = 0;
        for (const float value : axis) {
            squares += double{value} * double{value};
        }
        if (!(squares > 0.5 && squares < 2.0)) { // No variance left: any direction will do.
            std::ranges::fill(axis, 0.0F);
            axis[i % dim] = 1.0F;
        }
    }
    return found;
}

} // namespace

HeadSketches::HeadSketches(const Compressor& compressor, std::size_t head_bytes)
    : metric_(compressor.metric()) {
    const std::size_t fitting = kMostFloats / (head_bytes * kSymbols);
    dim_ = std::min({compressor.dim(), kMostAxes, std::max(fitting, kLeastAxes)});
    const std::vector<float> axes = translate_faiss(
        ErrorKind::kInternal, "Principal axes cannot be found",
        [&] { return principal_axes(compressor, head_bytes, dim_); });
    const MatrixView<const float> queries(axes.data(), dim_, compressor.dim());
    std::vector<Compressor::QueryTerms> terms(dim_);
    compressor.query_terms(queries, terms);
    for (const Compressor::QueryTerms& term : terms) {
        bias_.push_back(term.bias);
    }
    symbols_.resize(head_bytes * kSymbols * dim_);
    std::vector<float> tables(dim_ * kSymbols);
    for (std::size_t t = 0; t < head_bytes; ++t) {
        compressor.query_tables(queries, t, {tables.data(), dim_, kSymbols});
        for (std::size_t axis = 0; axis < dim_; ++axis) {
            for (std::size_t symbol = 0; symbol < kSymbols; ++symbol) {
                symbols_[(t * kSymbols + symbol) * dim_ + axis] = tables[axis * kSymbols + symbol];
            }
        }
    }
}

void HeadSketches::compute(std::span<const std::byte> head, float* sketch) const {
    std::copy_n(bias_.data(), dim_, sketch);
    for (std::size_t t = 0; t < head.size(); ++t) {
        const float* const symbol =
            symbols_.data() + (t * kSymbols + std::to_integer<std::size_t>(head[t])) * dim_;
        for (std::size_t j = 0; j < dim_; ++j) {
            sketch[j] += symbol[j];
        }
    }
    if (metric_ == Metric::kCosine) {
        const float norm = std::sqrt(faiss::fvec_norm_L2sqr(sketch, dim_));
        const float scale = norm > 0.0F ? 1.0F / norm : 0.0F;
        std::transform(sketch, sketch + dim_, sketch, [scale](float v) { return v * scale; });
    }
}

float HeadSketches::similarity(const float* a, const float* b) const {
    return metric_ == Metric::kCosine ? faiss::fvec_inner_product(a, b, dim_)
                                      : -faiss::fvec_L2sqr(a, b, dim_);
}

} // namespace arfc
