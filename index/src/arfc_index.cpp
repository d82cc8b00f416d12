#include "arfc/index/arfc_index.h"

#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <new>
#include <typeinfo>
#include <unordered_map>
#include <utility>

#include "arfc/base/error.h"
#include "arfc/base/narrow.h"
#include "arfc/compressor/compressor.h"
#include "byte_io.h"
#include "coarse_structure.h"
#include "factory_spec.h"
#include "faiss_errors.h"
#include "index_checks.h"
#include "memory_tails.h"
#include "staged_index.h"
#include "unit_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kEncodedRows = 16384; // Added at a time: bounds what a large add() needs
                                            // beside the rows.

/// Copies columns [first, first + width).
std::vector<std::byte> columns(
    MatrixView<const std::byte> codes, std::size_t first, std::size_t width) {
    std::vector<std::byte> out(codes.rows() * width);
    for (std::size_t i = 0; i < codes.rows(); ++i) {
        std::copy_n(codes.row(i).data() + first, width, out.data() + i * width);
    }
    return out;
}

/// Turns a score into what FAISS answers. Squared distances are never negative, though their
/// estimate may round below zero.
/// @param scale  The query's length where scores are cosines, else 1.
float to_faiss(faiss::MetricType metric, float score, float scale) noexcept {
    return metric == faiss::METRIC_L2 ? std::max(0.0F, -score) : score * scale;
}

void append(std::vector<std::byte>& values, std::span<const std::byte> more) {
    values.insert(values.end(), more.begin(), more.end());
}

} // namespace

struct ArfcIndex::State {
    FactorySpec spec;
    CoarseTraits coarse; ///< Of the coarse part; of no rows to train where there is none.
    bool is_cosine = false;
    std::shared_ptr<const Compressor> compressor; ///< Null before training.
    std::unique_ptr<StagedIndex> index;           ///< Null before training.
    std::vector<std::byte> tails;                 ///< [ntotal, tail_bytes()].
    std::vector<std::int64_t> ids;                ///< [ntotal]; empty: positions.
    bool has_ids = false;

    [[nodiscard]] std::size_t head_bytes() const noexcept { return spec.stage_bytes.front(); }
    [[nodiscard]] std::size_t tail_bytes() const noexcept {
        return spec.code_bytes() - head_bytes();
    }
    [[nodiscard]] StagedShape shape() const {
        return {
            .stage_bytes = spec.stage_bytes,
            .nlist = spec.nlist,
            .coarse = spec.coarse,
            .error_radii = spec.error_radii};
    }
    [[nodiscard]] MemoryTails tail_source() const noexcept {
        return {tails.data(), tail_bytes(), tail_bytes()};
    }
    [[nodiscard]] std::int64_t id_of(std::uint64_t row) const noexcept {
        return has_ids ? ids[row] : static_cast<std::int64_t>(row);
    }

    void require_unit_rows(MatrixView<const float> rows) const {
        for (std::size_t i = 0; is_cosine && i < rows.rows(); ++i) {
            if (!is_unit(rows.row(i))) {
                fail(
                    ErrorKind::kInvalidArgument,
                    "Index was trained on rows of unit length, so it ranks by cosine and takes no "
                    "other rows; "
                    "L2-normalise this row, or train on rows as they are; row and length: ",
                    i, ", ", length(rows.row(i)));
            }
        }
    }

    /// What answers are multiplied with, [m]: lengths of queries where the index ranks by cosine.
    [[nodiscard]] std::vector<float> scales(MatrixView<const float> queries) const {
        std::vector<float> scales(queries.rows(), 1.0F);
        for (std::size_t q = 0; is_cosine && q < queries.rows(); ++q) {
            scales[q] = static_cast<float>(length(queries.row(q)));
        }
        return scales;
    }

    void add(MatrixView<const float> rows, const std::int64_t* new_ids);
    /// @param radii  [codes, stages]; empty where the index keeps none.
    void add_codes(
        MatrixView<const std::byte> codes, std::span<const ErrorRadius> radii,
        const std::int64_t* new_ids);
    [[nodiscard]] std::vector<ErrorRadius> radii_of(
        const State& other, MatrixView<const std::byte> codes) const;
    [[nodiscard]] std::vector<std::byte> all_codes() const;
    [[nodiscard]] std::vector<std::uint64_t> rows_of(
        std::span<const std::int64_t> keys, std::int64_t ntotal) const;
    void decode(std::span<const std::uint64_t> rows, MatrixView<float> out) const;
    void drop(std::span<const std::uint64_t> rows);
};

/// Encodes everything before anything is appended, so that a refused row refuses the whole call.
void ArfcIndex::State::add(MatrixView<const float> rows, const std::int64_t* new_ids) {
    require_unit_rows(rows);
    std::vector<std::byte> codes(rows.rows() * spec.code_bytes());
    const MatrixView<std::byte> view(codes.data(), rows.rows(), spec.code_bytes());
    for (std::size_t first = 0; first < rows.rows(); first += kEncodedRows) {
        const std::size_t count = std::min(kEncodedRows, rows.rows() - first);
        compressor->encode(rows.slice(first, count), spec.code_bytes(), view.slice(first, count));
    }
    add_codes(view, index->error_radii(view, rows), new_ids);
}

/// Takes over the error radii of another index's rows, or measures what codes alone tell.
std::vector<ErrorRadius> ArfcIndex::State::radii_of(
    const State& other, MatrixView<const std::byte> codes) const {
    const std::span<const ErrorRadius> theirs = other.index->all_error_radii();
    return spec.error_radii && !theirs.empty() && spec.stage_bytes == other.spec.stage_bytes
             ? std::vector<ErrorRadius>(theirs.begin(), theirs.end())
             : index->error_radii(codes, {});
}

void ArfcIndex::State::add_codes(
    MatrixView<const std::byte> codes, std::span<const ErrorRadius> radii,
    const std::int64_t* new_ids) {
    const std::vector<std::byte> heads = columns(codes, 0, head_bytes());
    const std::vector<std::byte> new_tails = columns(codes, head_bytes(), tail_bytes());
    const std::vector<float> terms = index->rank_terms(codes);
    const std::size_t before = index->rows();
    tails.reserve(tails.size() + std::max(new_tails.size(), tails.size() / 2));
    if (has_ids || new_ids != nullptr) {
        ids.reserve(std::max(ids.size(), before) + std::max(codes.rows(), before / 2));
    }
    const std::size_t later = spec.stage_bytes.size() - 1;
    index->add(
        {heads.data(), codes.rows(), head_bytes()}, {terms.data(), codes.rows(), later},
        {radii.data(), radii.empty() ? 0 : codes.rows(), later + 1});
    append(tails, new_tails);
    if (new_ids != nullptr && !has_ids) { // Rows that had positions for ids keep them.
        for (std::size_t row = 0; row < before; ++row) {
            ids.push_back(static_cast<std::int64_t>(row));
        }
        has_ids = true;
    }
    for (std::size_t i = 0; has_ids && i < codes.rows(); ++i) {
        ids.push_back(new_ids != nullptr ? new_ids[i] : static_cast<std::int64_t>(before + i));
    }
}

/// Returns every row's code, [rows, code_bytes].
std::vector<std::byte> ArfcIndex::State::all_codes() const {
    const std::vector<std::byte> heads = index->all_heads();
    std::vector<std::byte> codes(index->rows() * spec.code_bytes());
    for (std::size_t row = 0; row < index->rows(); ++row) {
        std::byte* const code = codes.data() + row * spec.code_bytes();
        std::copy_n(heads.data() + row * head_bytes(), head_bytes(), code);
        std::copy_n(tails.data() + row * tail_bytes(), tail_bytes(), code + head_bytes());
    }
    return codes;
}

/// Finds the row of each id, the first where an id repeats, in one pass over the caller's ids.
std::vector<std::uint64_t> ArfcIndex::State::rows_of(
    std::span<const std::int64_t> keys, std::int64_t ntotal) const {
    std::unordered_map<std::int64_t, std::uint64_t> found;
    if (has_ids) {
        for (const std::int64_t key : keys) {
            found.emplace(key, kNoRow);
        }
        for (std::size_t row = 0; row < ids.size(); ++row) {
            const auto wanted = found.find(ids[row]);
            if (wanted != found.end() && wanted->second == kNoRow) {
                wanted->second = row;
            }
        }
    }
    std::vector<std::uint64_t> rows;
    for (const std::int64_t key : keys) {
        const bool is_position = !has_ids && key >= 0 && key < ntotal;
        rows.push_back(
            has_ids       ? found.at(key)
            : is_position ? static_cast<std::uint64_t>(key)
                          : kNoRow);
        if (rows.back() == kNoRow) {
            fail(ErrorKind::kNotFound, "Index holds no row of id: ", key);
        }
    }
    return rows;
}

void ArfcIndex::State::decode(std::span<const std::uint64_t> rows, MatrixView<float> out) const {
    std::vector<std::byte> heads(rows.size() * head_bytes());
    index->read_heads(rows, {heads.data(), rows.size(), head_bytes()});
    std::vector<std::byte> codes;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        append(codes, {heads.data() + i * head_bytes(), head_bytes()});
        append(codes, {tails.data() + rows[i] * tail_bytes(), tail_bytes()});
    }
    compressor->decode({codes.data(), rows.size(), spec.code_bytes()}, out);
}

/// Drops rows and moves the others up.
void ArfcIndex::State::drop(std::span<const std::uint64_t> rows) {
    index->erase(rows);
    const std::size_t width = tail_bytes();
    std::size_t kept = 0;
    for (std::size_t row = 0; row < index->rows(); ++row) {
        if (!index->is_live(row)) {
            continue;
        }
        if (kept != row) {
            std::copy_n(tails.data() + row * width, width, tails.data() + kept * width);
        }
        if (has_ids) {
            ids[kept] = ids[row];
        }
        ++kept;
    }
    tails.resize(kept * width);
    if (has_ids) {
        ids.resize(kept);
    }
    index->compact();
}

ArfcIndex::ArfcIndex(int width, std::string_view description, faiss::MetricType metric)
    : faiss::Index(width, metric), state_(std::make_unique<State>()) {
    if (width < 1) {
        fail(ErrorKind::kInvalidArgument, "Embedding width is outside [1, 65536]: ", width);
    }
    if (metric != faiss::METRIC_L2 && metric != faiss::METRIC_INNER_PRODUCT) {
        fail(
            ErrorKind::kUnsupported,
            "ARFC indexes offer METRIC_INNER_PRODUCT and METRIC_L2; asked for FAISS metric: ",
            static_cast<int>(metric));
    }
    state_->spec = parse_factory(static_cast<std::size_t>(width), description);
    if (state_->spec.id_map != IdMap::kNone) {
        fail(
            ErrorKind::kInvalidArgument,
            "ArfcIndex is what stands behind an IDMap; use index_factory() for: \"", description,
            "\"");
    }
    if (state_->spec.coarse.empty()) {
        state_->coarse = {
            .takes_ef_search = false,
            .lists = state_->spec.nlist,
            .training_rows = std::max<std::size_t>(state_->spec.nlist, 1)};
    } else {
        // Under inner product training decides between cosine, which every index serves, and not.
        const Metric likely = metric == faiss::METRIC_L2 ? Metric::kL2 : Metric::kCosine;
        state_->coarse =
            make_coarse(static_cast<std::size_t>(width), likely, state_->spec.coarse)->traits();
    }
    is_trained = false;
}

ArfcIndex::~ArfcIndex() = default;

namespace {

std::unique_ptr<Compressor> trained_model(
    MatrixView<const float> rows, std::size_t code_bytes, Metric metric,
    const ArfcTrainOptions& train_options) {
    TrainOptions options;
    options.code_bytes = code_bytes;
    options.metric = metric;
    options.time_budget_s = train_options.time_budget_s;
    options.seed = train_options.seed;
    options.device = train_options.device;
    options.progress = train_options.progress;
    return Compressor::train(rows, options);
}

/// Opens the given model, which rows of `width` and codes of `code_bytes` must suit.
std::unique_ptr<Compressor> fitting_model(
    std::size_t width, std::size_t code_bytes, Metric metric,
    const ArfcTrainOptions& train_options) {
    std::unique_ptr<Compressor> model = Compressor::open(train_options.model, train_options.device);
    if (model->dim() != width || model->metric() != metric || model->code_bytes() < code_bytes) {
        fail(
            ErrorKind::kInvalidArgument,
            "Model does not suit the index; its width, metric and code bytes: ", model->dim(), ", ",
            to_string(model->metric()), ", ", model->code_bytes(), ", expected ", width, ", ",
            to_string(metric), ", at least ", code_bytes);
    }
    return model;
}

} // namespace

void ArfcIndex::train(std::int64_t n, const float* x) {
    if (ntotal > 0) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Index holds rows of the model that it has; call reset() first; rows: ", ntotal);
    }
    const MatrixView<const float> rows(x, checked_count(n), static_cast<std::size_t>(d));
    if (rows.rows() < state_->coarse.training_rows) {
        fail(
            ErrorKind::kInvalidArgument, "Training rows are too few: ", n, ", expected at least ",
            state_->coarse.training_rows);
    }
    bool all_unit = metric_type == faiss::METRIC_INNER_PRODUCT;
    for (std::size_t i = 0; all_unit && i < rows.rows(); ++i) {
        all_unit = is_unit(rows.row(i));
    }
    if (train_options.lists_per_row > kMostListsPerRow) {
        fail(
            ErrorKind::kInvalidArgument, "Lists a row are outside [0, ", kMostListsPerRow,
            "]: ", train_options.lists_per_row);
    }
    const std::size_t code_bytes = state_->spec.code_bytes();
    const Metric metric = metric_type == faiss::METRIC_L2 ? Metric::kL2
                        : all_unit                        ? Metric::kCosine
                                                          : Metric::kInnerProduct;
    if (!state_->spec.coarse.empty()) { // Refused before hours of training, not after.
        (void)make_coarse(rows.cols(), metric, state_->spec.coarse);
    }
    const std::shared_ptr<const Compressor> compressor =
        train_options.model.empty() ? trained_model(rows, code_bytes, metric, train_options)
                                    : fitting_model(rows.cols(), code_bytes, metric, train_options);
    auto index = std::make_unique<StagedIndex>(compressor, state_->shape());
    std::vector<std::byte> codes(rows.rows() * code_bytes);
    compressor->encode(rows, code_bytes, {codes.data(), rows.rows(), code_bytes});
    index->train(
        {codes.data(), rows.rows(), code_bytes}, rows,
        {.seed = train_options.seed,
         .lists_per_row = train_options.lists_per_row,
         .progress = train_options.progress});
    state_->compressor = compressor;
    state_->index = std::move(index);
    state_->is_cosine = all_unit;
    is_trained = true;
}

void ArfcIndex::add(std::int64_t n, const float* x) {
    add_with_ids(n, x, nullptr);
}

void ArfcIndex::add_with_ids(std::int64_t n, const float* x, const std::int64_t* xids) {
    require_trained(is_trained);
    if (checked_count(n) == 0) {
        return;
    }
    try {
        state_->add({x, checked_count(n), static_cast<std::size_t>(d)}, xids);
    } catch (const std::bad_alloc&) {
        fail(ErrorKind::kResourceExhausted, "Memory ran out while rows were added: ", n);
    }
    ntotal += n;
}

namespace {

/// What a search of the staged index takes of FAISS's parameters, `sel` excepted.
StagedRequest to_request(const faiss::SearchParameters* params, bool has_structure) {
    StagedRequest request;
    if (params == nullptr) {
        return request;
    }
    if (const auto* arfc = dynamic_cast<const SearchParametersARFC*>(params)) {
        request.stages = arfc->stages;
        request.nprobe = arfc->nprobe;
        request.ef_search = arfc->efSearch;
        request.until = arfc->until;
    } else if (const auto* ivf = dynamic_cast<const faiss::SearchParametersIVF*>(params)) {
        if (ivf->max_codes != 0 || ivf->quantizer_params != nullptr) {
            fail(
                ErrorKind::kUnsupported,
                "ARFC indexes take nprobe of SearchParametersIVF, not max_codes or "
                "quantizer_params; max_codes: ",
                ivf->max_codes);
        }
        request.nprobe = ivf->nprobe;
    } else if (const auto* hnsw = dynamic_cast<const faiss::SearchParametersHNSW*>(params);
               hnsw != nullptr && has_structure) {
        request.ef_search = hnsw->efSearch < 0 ? 0 : static_cast<std::size_t>(hnsw->efSearch);
    } else if (typeid(*params) != typeid(faiss::SearchParameters)) {
        fail(
            ErrorKind::kUnsupported,
            "ARFC indexes take SearchParametersARFC, SearchParametersIVF, SearchParametersHNSW "
            "where "
            "there is a graph, or SearchParameters, not: ",
            typeid(*params).name());
    }
    return request;
}

} // namespace

StagedRequest ArfcIndex::request(const faiss::SearchParameters* params) const {
    StagedRequest request = to_request(params, has_graph());
    if (!request.nprobe && !request.until) {
        request.nprobe = search_defaults.nprobe;
    }
    if (!request.ef_search && !request.until) {
        request.ef_search = search_defaults.ef_search;
    }
    if (params != nullptr && params->sel != nullptr) {
        request.accepts = [state = state_.get(), sel = params->sel](std::uint64_t row) {
            return sel->is_member(state->id_of(row));
        };
    }
    return request;
}

/// Where no stages are named, those of the factory string keep what search_defaults says.
void ArfcIndex::apply_default_limits(StagedRequest& request) const {
    if (!request.stages.empty() || request.until || search_defaults.limits.empty()) {
        return;
    }
    request.stages = state_->index->default_stages(request.k);
    for (std::size_t i = 0; i + 1 < request.stages.size(); ++i) {
        const auto set = search_defaults.limits.find(request.stages[i].bytes);
        if (set != search_defaults.limits.end()) {
            request.stages[i].limit = std::max(set->second, request.k);
        }
    }
}

void ArfcIndex::search(
    std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
    const faiss::SearchParameters* params) const {
    (void)answer_search(n, x, k, distances, labels, params);
}

/// Searches, fills what FAISS wants, and tells the rows too.
StagedAnswer ArfcIndex::answer_search(
    std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
    const faiss::SearchParameters* params) const {
    require_trained(is_trained);
    const MatrixView<const float> queries(x, checked_count(n), static_cast<std::size_t>(d));
    StagedRequest request = this->request(params);
    request.k = k < 0 ? 0 : static_cast<std::size_t>(k);
    apply_default_limits(request);
    const MemoryTails tails = state_->tail_source();
    StagedAnswer answer = state_->index->search(queries, request, &tails);
    if (const auto* arfc = dynamic_cast<const SearchParametersARFC*>(params);
        arfc != nullptr && arfc->certainty != nullptr) {
        *arfc->certainty = answer.certainty;
        arfc->certainty->resize(queries.rows(), Certainty::kNone);
    }
    const std::vector<float> scales = state_->scales(queries);
    const bool is_l2 = metric_type == faiss::METRIC_L2;
    for (std::size_t i = 0; i < answer.rows.size(); ++i) {
        const bool is_row = answer.rows[i] != kNoRow;
        labels[i] = is_row ? state_->id_of(answer.rows[i]) : -1;
        distances[i] = !is_row ? (is_l2 ? 1.0F : -1.0F) * std::numeric_limits<float>::max()
                               : to_faiss(metric_type, answer.scores[i], scales[i / request.k]);
    }
    return answer;
}

void ArfcIndex::search_and_reconstruct(
    std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
    float* recons, const faiss::SearchParameters* params) const {
    const StagedAnswer answer = answer_search(n, x, k, distances, labels, params);
    const auto width = static_cast<std::size_t>(d);
    std::vector<std::uint64_t> rows;
    std::ranges::copy_if(
        answer.rows, std::back_inserter(rows), [](std::uint64_t row) { return row != kNoRow; });
    std::vector<float> decoded(rows.size() * width);
    if (!rows.empty()) {
        state_->decode(rows, {decoded.data(), rows.size(), width});
    }
    const float* next = decoded.data();
    for (std::size_t i = 0; i < answer.rows.size(); ++i) {
        if (answer.rows[i] == kNoRow) { // As FAISS fills places that no row took.
            std::fill_n(recons + i * width, width, std::numeric_limits<float>::quiet_NaN());
        } else {
            std::copy_n(next, width, recons + i * width);
            next += width;
        }
    }
}

void ArfcIndex::range_search(
    std::int64_t n, const float* x, float radius, faiss::RangeSearchResult* result,
    const faiss::SearchParameters* params) const {
    require_trained(is_trained);
    if (std::isnan(radius)) {
        fail(ErrorKind::kInvalidArgument, "Radius is not a number: ", radius);
    }
    const MatrixView<const float> queries(x, checked_count(n), static_cast<std::size_t>(d));
    require_result(result, queries.rows());
    const std::vector<float> scales = state_->scales(queries);
    const bool is_l2 = metric_type == faiss::METRIC_L2;
    const MemoryTails tails = state_->tail_source();
    const StagedRangeAnswer answer = state_->index->range_search(
        queries, request(params),
        [&](std::size_t q, float score) {
            const float distance = to_faiss(metric_type, score, scales[q]);
            return is_l2 ? distance < radius : distance > radius;
        },
        &tails);
    for (std::size_t q = 0; q < queries.rows(); ++q) { // Counts, of which FAISS makes limits.
        result->lims[q] = answer.offsets[q + 1] - answer.offsets[q];
    }
    allocate(*result);
    for (std::size_t q = 0; q < queries.rows(); ++q) {
        for (std::size_t i = answer.offsets[q]; i < answer.offsets[q + 1]; ++i) {
            result->labels[i] = state_->id_of(answer.rows[i]);
            result->distances[i] = to_faiss(metric_type, answer.scores[i], scales[q]);
        }
    }
}

void ArfcIndex::reconstruct(std::int64_t key, float* recons) const {
    reconstruct_batch(1, &key, recons);
}

void ArfcIndex::reconstruct_batch(std::int64_t n, const std::int64_t* keys, float* recons) const {
    const std::vector<std::uint64_t> rows = state_->rows_of({keys, checked_count(n)}, ntotal);
    if (!rows.empty()) {
        state_->decode(rows, {recons, rows.size(), static_cast<std::size_t>(d)});
    }
}

void ArfcIndex::reconstruct_n(std::int64_t i0, std::int64_t ni, float* recons) const {
    if (i0 < 0 || ni < 0 || i0 > ntotal - ni) {
        fail(
            ErrorKind::kNotFound, "Index holds rows [0, ", ntotal, "), asked for [", i0, ", ", i0,
            " + ", ni, ")");
    }
    std::vector<std::uint64_t> rows(static_cast<std::size_t>(ni));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i] = static_cast<std::uint64_t>(i0) + i;
    }
    if (!rows.empty()) {
        state_->decode(rows, {recons, rows.size(), static_cast<std::size_t>(d)});
    }
}

void ArfcIndex::compute_residual(const float* x, float* residual, std::int64_t key) const {
    compute_residual_n(1, x, residual, &key);
}

void ArfcIndex::compute_residual_n(
    std::int64_t n, const float* xs, float* residuals, const std::int64_t* keys) const {
    std::vector<float> decoded(checked_count(n) * static_cast<std::size_t>(d));
    reconstruct_batch(n, keys, decoded.data());
    std::transform(xs, xs + decoded.size(), decoded.begin(), residuals, std::minus<>());
}

faiss::DistanceComputer* ArfcIndex::get_distance_computer() const {
    fail(
        ErrorKind::kUnsupported,
        "ARFC indexes offer no DistanceComputer, so they cannot be the storage of FAISS's graphs");
}

void ArfcIndex::check_compatible_for_merge(const faiss::Index& other) const {
    const auto* const from = dynamic_cast<const ArfcIndex*>(&other);
    if (from == nullptr || from == this) {
        fail(
            ErrorKind::kInvalidArgument, "ARFC index takes in the rows of ",
            from == this ? "another, not of itself" : "an ARFC index, not of another kind");
    }
    require_trained(is_trained && from->is_trained);
    const State& mine = *state_;
    const State& theirs = *from->state_;
    if (metric_type != other.metric_type || mine.spec.code_bytes() != theirs.spec.code_bytes() ||
        mine.compressor->id() != theirs.compressor->id()) {
        fail(
            ErrorKind::kInvalidArgument,
            "Indexes do not share a model and a code length, so codes of one mean nothing to the "
            "other; models: ",
            theirs.compressor->id(), ", expected ", mine.compressor->id(),
            "; code lengths: ", theirs.spec.code_bytes(), ", expected ", mine.spec.code_bytes());
    }
}

void ArfcIndex::merge_from(faiss::Index& other, std::int64_t add_id) {
    check_compatible_for_merge(other);
    auto& from = dynamic_cast<ArfcIndex&>(other);
    const auto count = static_cast<std::size_t>(from.ntotal);
    const bool by_position = !state_->has_ids && !from.state_->has_ids;
    if (by_position && add_id != 0 && add_id != ntotal) {
        fail(
            ErrorKind::kInvalidArgument,
            "Ids of both indexes are positions, which nothing but the rows before can be added "
            "to: ",
            add_id, ", expected 0 or ", ntotal);
    }
    std::vector<std::int64_t> ids;
    for (std::size_t row = 0; !by_position && row < count; ++row) {
        ids.push_back(from.state_->id_of(row) + add_id);
    }
    try {
        const std::vector<std::byte> codes = from.state_->all_codes();
        const MatrixView<const std::byte> view(codes.data(), count, state_->spec.code_bytes());
        if (count > 0) {
            state_->add_codes(
                view, state_->radii_of(*from.state_, view), by_position ? nullptr : ids.data());
        }
    } catch (const std::bad_alloc&) {
        fail(ErrorKind::kResourceExhausted, "Memory ran out while rows were merged: ", count);
    }
    ntotal += from.ntotal;
    from.reset();
}

std::size_t ArfcIndex::remove_ids(const faiss::IDSelector& sel) {
    std::vector<std::uint64_t> gone;
    for (std::uint64_t row = 0; row < static_cast<std::uint64_t>(ntotal); ++row) {
        if (sel.is_member(state_->id_of(row))) {
            gone.push_back(row);
        }
    }
    if (!gone.empty()) {
        state_->drop(gone);
        ntotal = static_cast<std::int64_t>(state_->index->rows());
    }
    return gone.size();
}

void ArfcIndex::reset() {
    if (state_->index != nullptr) {
        state_->index->clear();
    }
    state_->tails = {};
    state_->ids = {};
    state_->has_ids = false;
    ntotal = 0;
}

std::size_t ArfcIndex::sa_code_size() const {
    return state_->spec.code_bytes();
}

void ArfcIndex::sa_encode(std::int64_t n, const float* x, std::uint8_t* bytes) const {
    require_trained(is_trained);
    const MatrixView<const float> rows(x, checked_count(n), static_cast<std::size_t>(d));
    state_->compressor->encode(
        rows, sa_code_size(), {reinterpret_cast<std::byte*>(bytes), rows.rows(), sa_code_size()});
}

void ArfcIndex::sa_decode(std::int64_t n, const std::uint8_t* bytes, float* x) const {
    require_trained(is_trained);
    const std::size_t rows = checked_count(n);
    state_->compressor->decode(
        {reinterpret_cast<const std::byte*>(bytes), rows, sa_code_size()},
        {x, rows, static_cast<std::size_t>(d)});
}

std::string ArfcIndex::factory() const {
    return to_string(state_->spec);
}
const Compressor* ArfcIndex::compressor() const noexcept {
    return state_->compressor.get();
}
bool ArfcIndex::is_cosine() const noexcept {
    return state_->is_cosine;
}
std::size_t ArfcIndex::nlist() const noexcept {
    return state_->coarse.lists;
}
bool ArfcIndex::has_graph() const noexcept {
    return state_->coarse.takes_ef_search;
}

bool ArfcIndex::keeps_error_radii() const noexcept {
    return state_->spec.error_radii;
}

std::size_t ArfcIndex::default_nprobe() const {
    require_trained(is_trained);
    return state_->index->default_nprobe();
}

std::vector<Stage> ArfcIndex::default_stages(std::size_t k) const {
    require_trained(is_trained);
    return state_->index->default_stages(k);
}

ArfcIndex::Bytes ArfcIndex::resident_bytes() const noexcept {
    Bytes bytes;
    if (state_->index != nullptr) {
        const StagedBytes staged = state_->index->resident_bytes();
        bytes.codes = staged.heads + state_->tails.size();
        bytes.terms = staged.scan_terms + staged.rank_terms;
        bytes.radii = staged.error_radii + staged.calibration;
        bytes.lists = staged.lists + staged.structure;
        bytes.ids = state_->ids.size() * sizeof(std::int64_t);
        bytes.model = state_->compressor->model_bytes();
    }
    return bytes;
}

void ArfcIndex::write(ByteWriter& out) const {
    out.number(static_cast<std::uint32_t>(d));
    out.number(static_cast<std::uint8_t>(
        metric_type == faiss::METRIC_L2 ? Metric::kL2 : Metric::kInnerProduct));
    out.text(factory());
    out.number(static_cast<std::uint8_t>(is_trained ? 1 : 0));
    if (!is_trained) {
        return;
    }
    const ModelFiles files = state_->compressor->files();
    out.text(files.config);
    out.text(files.weights);
    out.text(state_->index->save());
    out.number(static_cast<std::uint64_t>(ntotal));
    out.array(std::span<const std::byte>(state_->index->all_heads()));
    out.array(std::span<const std::byte>(state_->tails));
    out.number(static_cast<std::uint8_t>(state_->has_ids ? 1 : 0));
    out.array(std::span<const std::int64_t>(state_->ids));
}

std::unique_ptr<ArfcIndex> ArfcIndex::read(ByteReader& in) {
    const auto width = in.number<std::uint32_t>();
    const auto metric = in.number<std::uint8_t>();
    in.require(width >= 1 && width <= 65536, "embedding width ", width);
    in.require(
        metric <= static_cast<std::uint8_t>(Metric::kL2), "metric ", static_cast<int>(metric));
    const std::string_view description = in.text();
    std::unique_ptr<ArfcIndex> index;
    try {
        index = std::make_unique<ArfcIndex>(
            static_cast<int>(width), description,
            metric == static_cast<std::uint8_t>(Metric::kL2) ? faiss::METRIC_L2
                                                             : faiss::METRIC_INNER_PRODUCT);
    } catch (const Error& error) {
        in.require(false, error.what());
    }
    if (in.number<std::uint8_t>() != 0) {
        index->read_trained(in);
    }
    return index;
}

void ArfcIndex::read_trained(ByteReader& in) {
    State& state = *state_;
    ModelFiles files;
    files.config = in.text();
    files.weights = in.text();
    state.compressor = Compressor::open(files);
    const Metric model_metric = state.compressor->metric();
    const bool is_l2 = metric_type == faiss::METRIC_L2;
    in.require(
        state.compressor->dim() == static_cast<std::size_t>(d) &&
            state.compressor->code_bytes() >= state.spec.code_bytes() &&
            (model_metric == Metric::kL2) == is_l2,
        "the model has width ", state.compressor->dim(), ", code length ",
        state.compressor->code_bytes(), " and metric ", to_string(model_metric), "; the index has ",
        d, ", ", state.spec.code_bytes());
    state.is_cosine = model_metric == Metric::kCosine;
    state.index = std::make_unique<StagedIndex>(state.compressor, state.shape());
    const StagedIndex::Restored restored = state.index->restore(in.text());
    const auto rows = in.number<std::uint64_t>();
    in.require(
        rows == restored.rows && state.index->is_trained(), rows, " rows, of which lists cover ",
        restored.rows);
    const std::vector<std::byte> heads = in.array<std::byte>(rows * state.head_bytes());
    state.tails = in.array<std::byte>(rows * state.tail_bytes());
    state.has_ids = in.number<std::uint8_t>() != 0;
    state.ids = in.array<std::int64_t>(state.has_ids ? rows : 0);
    state.index->add({heads.data(), rows, state.head_bytes()});
    ntotal = static_cast<std::int64_t>(rows);
    is_trained = true;
}

} // namespace arfc
