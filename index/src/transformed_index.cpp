#include "transformed_index.h"

#include <faiss/VectorTransform.h>
#include <faiss/index_factory.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "arfc/base/error.h"
#include "byte_io.h"
#include "faiss_errors.h"
#include "index_checks.h"

namespace arfc {
namespace {

constexpr std::array<std::string_view, 7> kTransforms = {"PCA", "OPQ",    "ITQ",   "RR",
                                                         "Pad", "L2norm", "L2Norm"};

bool is_transform(std::string_view component) noexcept {
    return std::ranges::any_of(
        kTransforms, [&](std::string_view name) { return component.starts_with(name); });
}

/// Runs what FAISS's class does; its exceptions mean that it cannot be done with these arguments.
template <class Work>
decltype(auto) translated(const Work& work) {
    return translate_faiss(
        ErrorKind::kInvalidArgument, "Transforms before ARFC cannot be applied", work);
}

/// FAISS allocates what a string says before anything can be checked.
void require_modest_numbers(std::string_view transforms) {
    constexpr std::string_view kDigits = "0123456789";
    constexpr std::size_t kMost = 5; // Digits: widths end at 65536.
    for (std::size_t first = transforms.find_first_of(kDigits); first != std::string_view::npos;) {
        const std::size_t end =
            std::min(transforms.find_first_not_of(kDigits, first), transforms.size());
        if (end - first > kMost) {
            fail(
                ErrorKind::kInvalidArgument,
                "Transform's number is outside [1, 65536]: ", transforms.substr(first, end - first),
                " in \"", transforms, "\"");
        }
        first = transforms.find_first_of(kDigits, end);
    }
}

/// FAISS notices some of these only when it trains, others not at all.
void check(const faiss::VectorTransform& transform, std::string_view text) {
    const auto* const rotation = dynamic_cast<const faiss::OPQMatrix*>(&transform);
    if (rotation != nullptr && (rotation->M < 1 || transform.d_out % rotation->M != 0)) {
        fail(
            ErrorKind::kInvalidArgument,
            "OPQ divides its output into equal parts: ", transform.d_out, " floats into ",
            rotation->M, " in \"", text, "\"");
    }
    const bool shortens = dynamic_cast<const faiss::PCAMatrix*>(&transform) != nullptr ||
                          dynamic_cast<const faiss::ITQTransform*>(&transform) != nullptr;
    if (transform.d_out < 1 || (shortens && transform.d_out > transform.d_in)) {
        fail(
            ErrorKind::kInvalidArgument, "Transform's output is outside [1, ", transform.d_in,
            "] floats: ", transform.d_out, " in \"", text, "\"");
    }
}

void require_finite(std::int64_t n, int d, const float* x) {
    for (std::int64_t i = 0; i < n; ++i) {
        const float* const row = x + i * d;
        if (!std::all_of(row, row + d, [](float value) { return std::isfinite(value); })) {
            fail(
                ErrorKind::kInvalidArgument,
                "Embeddings hold a value that is not finite (NaN or infinity) in row: ", i);
        }
    }
}

/// Calls work(linear, mean) with what a transform learns; mean is null but for ITQ. Transforms that
/// learn nothing are passed over.
template <class Work>
void for_learned(faiss::VectorTransform& transform, const Work& work) {
    if (auto* const itq = dynamic_cast<faiss::ITQTransform*>(&transform)) {
        work(itq->pca_then_itq, &itq->mean);
    } else if (auto* const linear = dynamic_cast<faiss::LinearTransform*>(&transform)) {
        work(*linear, static_cast<std::vector<float>*>(nullptr));
    }
}

} // namespace

std::pair<std::string_view, std::string_view> split_transforms(
    std::string_view description) noexcept {
    std::size_t end = 0; // Of the transforms, their last comma included.
    while (is_transform(description.substr(end))) {
        const std::size_t comma = description.find(',', end);
        if (comma == std::string_view::npos) {
            return {{}, description};
        }
        end = comma + 1;
    }
    if (end == 0 || !description.substr(end).starts_with("ARFC")) {
        return {{}, description};
    }
    return {description.substr(0, end - 1), description.substr(end)};
}

TransformChain make_transforms(int d, std::string_view transforms) {
    require_modest_numbers(transforms);
    // FAISS's grammar knows transforms before an index only.
    const std::string text = std::string(transforms) + ",Flat";
    const std::unique_ptr<faiss::Index> made = translate_faiss(
        ErrorKind::kInvalidArgument, "FAISS refuses the transforms of the factory string",
        [&] { return std::unique_ptr<faiss::Index>(faiss::index_factory(d, text.c_str())); });
    auto* const index = dynamic_cast<faiss::IndexPreTransform*>(made.get());
    if (index == nullptr || dynamic_cast<faiss::IndexPreTransform*>(index->index) != nullptr) {
        fail(ErrorKind::kInvalidArgument, "FAISS knows no such transforms: \"", transforms, "\"");
    }
    TransformChain chain;
    for (faiss::VectorTransform* const transform : std::exchange(index->chain, {})) {
        chain.emplace_back(transform);
    }
    for (const auto& transform : chain) {
        check(*transform, transforms);
    }
    return chain;
}

TransformedIndex::TransformedIndex(
    std::string transforms, TransformChain transform_chain, std::unique_ptr<faiss::Index> inner)
    : transforms_(std::move(transforms)) {
    d = transform_chain.front()->d_in;
    metric_type = inner->metric_type;
    ntotal = inner->ntotal;
    is_trained = inner->is_trained;
    for (auto& transform : transform_chain) {
        is_trained = is_trained && transform->is_trained;
        chain.push_back(transform.get());
        static_cast<void>(transform.release()); // The chain owns it.
    }
    index = inner.release();
    own_fields = true;
}

void TransformedIndex::train(std::int64_t n, const float* x) {
    if (ntotal > 0) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Index holds rows of the model that it has; call reset() first; rows: ", ntotal);
    }
    if (n < 1) {
        fail(
            ErrorKind::kInvalidArgument, "Training rows are too few: ", n, ", expected at least 1");
    }
    require_finite(n, d, x);
    is_trained = false;
    translated([&] {
        std::unique_ptr<const float[]> rows;
        const float* at = x;
        for (faiss::VectorTransform* const transform : chain) {
            // What has nothing to learn is trained from the start and passes the call over.
            transform->is_trained = false;
            transform->train(n, at);
            transform->is_trained = true;
            rows.reset(transform->apply(n, at));
            at = rows.get();
        }
        index->train(n, at);
    });
    is_trained = true;
}

void TransformedIndex::add(std::int64_t n, const float* x) {
    require_trained(is_trained);
    translated([&] { faiss::IndexPreTransform::add(n, x); });
}

void TransformedIndex::add_with_ids(std::int64_t n, const float* x, const std::int64_t* xids) {
    require_trained(is_trained);
    translated([&] { faiss::IndexPreTransform::add_with_ids(n, x, xids); });
}

void TransformedIndex::search(
    std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
    const faiss::SearchParameters* params) const {
    require_trained(is_trained);
    translated([&] { faiss::IndexPreTransform::search(n, x, k, distances, labels, params); });
}

void TransformedIndex::range_search(
    std::int64_t n, const float* x, float radius, faiss::RangeSearchResult* result,
    const faiss::SearchParameters* params) const {
    require_trained(is_trained);
    translated([&] { faiss::IndexPreTransform::range_search(n, x, radius, result, params); });
}

void TransformedIndex::search_and_reconstruct(
    std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
    float* recons, const faiss::SearchParameters* params) const {
    require_trained(is_trained);
    translated([&] {
        faiss::IndexPreTransform::search_and_reconstruct(
            n, x, k, distances, labels, recons, params);
    });
}

void TransformedIndex::reconstruct(std::int64_t key, float* recons) const {
    translate_faiss(ErrorKind::kUnsupported, "Transforms cannot be turned back", [&] {
        faiss::IndexPreTransform::reconstruct(key, recons);
    });
}

void TransformedIndex::reconstruct_n(std::int64_t i0, std::int64_t ni, float* recons) const {
    translate_faiss(ErrorKind::kUnsupported, "Transforms cannot be turned back", [&] {
        faiss::IndexPreTransform::reconstruct_n(i0, ni, recons);
    });
}

void TransformedIndex::sa_encode(std::int64_t n, const float* x, std::uint8_t* bytes) const {
    require_trained(is_trained);
    translated([&] { faiss::IndexPreTransform::sa_encode(n, x, bytes); });
}

void TransformedIndex::sa_decode(std::int64_t n, const std::uint8_t* bytes, float* x) const {
    require_trained(is_trained);
    translate_faiss(ErrorKind::kUnsupported, "Transforms cannot be turned back", [&] {
        faiss::IndexPreTransform::sa_decode(n, bytes, x);
    });
}

void TransformedIndex::write_transforms(ByteWriter& out) const {
    out.text(transforms_);
    out.number(static_cast<std::uint32_t>(d));
    out.number(static_cast<std::uint8_t>(is_trained ? 1 : 0));
    for (faiss::VectorTransform* const transform : chain) {
        for_learned(
            *transform, [&](const faiss::LinearTransform& learned, const std::vector<float>* mean) {
                if (!is_trained) {
                    return;
                }
                if (mean != nullptr) {
                    out.array(std::span<const float>(*mean));
                }
                out.number(static_cast<std::uint8_t>(learned.have_bias ? 1 : 0));
                out.number(static_cast<std::uint8_t>(learned.is_orthonormal ? 1 : 0));
                out.array(std::span<const float>(learned.A));
                out.array(std::span<const float>(learned.b).first(
                    learned.have_bias ? learned.b.size() : 0));
            });
    }
}

std::pair<TransformChain, std::string> TransformedIndex::read_transforms(ByteReader& in) {
    const std::string transforms(in.text());
    const auto width = in.number<std::uint32_t>();
    in.require(width >= 1 && width <= 65536, "embedding width ", width);
    const bool is_trained = in.number<std::uint8_t>() != 0;
    TransformChain chain;
    try {
        chain = make_transforms(static_cast<int>(width), transforms);
    } catch (const Error& error) {
        in.require(false, error.what());
    }
    for (const auto& transform : chain) {
        const auto rows = static_cast<std::uint64_t>(transform->d_out);
        const auto columns = static_cast<std::uint64_t>(transform->d_in);
        for_learned(*transform, [&](faiss::LinearTransform& learned, std::vector<float>* mean) {
            if (!is_trained) {
                return;
            }
            if (mean != nullptr) {
                *mean = in.array<float>(columns);
            }
            learned.d_in = transform->d_in;
            learned.d_out = transform->d_out;
            learned.have_bias = in.number<std::uint8_t>() != 0;
            learned.is_orthonormal = in.number<std::uint8_t>() != 0;
            learned.A = in.array<float>(rows * columns);
            learned.b = in.array<float>(learned.have_bias ? rows : 0);
            learned.is_trained = true;
        });
        transform->is_trained = transform->is_trained || is_trained;
    }
    return {std::move(chain), transforms};
}

void TransformedIndex::check_compatible_for_merge(const faiss::Index& other) const {
    require_trained(is_trained);
    translate_faiss(ErrorKind::kInvalidArgument, "Index has other transforms", [&] {
        faiss::IndexPreTransform::check_compatible_for_merge(other);
    });
}

void TransformedIndex::merge_from(faiss::Index& other, std::int64_t add_id) {
    check_compatible_for_merge(other);
    index->merge_from(*dynamic_cast<faiss::IndexPreTransform&>(other).index, add_id);
    ntotal = index->ntotal;
    other.ntotal = 0; // FAISS 1.7.3 leaves it.
}

} // namespace arfc
