#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <numeric>

#include "arfc/base/error.h"
#include "collection_impl.h"

namespace arfc {
namespace {

/// Rows encoded and written at a time while a whole collection gets its codes: 3 MB of 384 floats.
constexpr std::size_t kEncodeRows = 2048;
/// Rows that stand for all when lists and defaults are learned.
constexpr std::size_t kTrainSample = 100000;
/// Rows that make lists and defaults worth learning: what was measured on fewer fails as they
/// grow, and the defaults of an index that learned nothing rank the best 200 of all.
constexpr std::size_t kLeastLearned = 1000;
/// Rows a list, on average, that make lists worth having.
constexpr std::size_t kRowsPerList = 30;
/// Growth of the rows that makes optimize() learn anew.
constexpr double kWorthLearning = 1.1;

void check_ids(std::size_t ids, std::size_t rows, std::size_t payloads) {
    if (ids != rows) {
        fail(
            ErrorKind::kInvalidArgument, "Ids differ in number from the embeddings: ", ids,
            ", expected ", rows);
    }
    if (payloads != 0 && payloads != rows) {
        fail(
            ErrorKind::kInvalidArgument,
            "Payloads differ in number from the embeddings: ", payloads, ", expected ", rows);
    }
}

void check_payloads(std::span<const std::string> payloads) {
    for (std::size_t i = 0; i < payloads.size(); ++i) {
        const std::string& payload = payloads[i];
        const std::size_t start = payload.find_first_not_of(" \t\r\n");
        if (!payload.empty() && (start == std::string::npos || payload[start] != '{' ||
                                 !nlohmann::json::accept(payload))) {
            fail(ErrorKind::kInvalidArgument, "Payload is not a JSON object in row: ", i);
        }
    }
}

/// Copies columns [first, first + width) of a matrix.
std::vector<std::byte> columns(
    const std::vector<std::byte>& codes, std::size_t code_bytes, std::size_t first,
    std::size_t width) {
    const std::size_t rows = codes.size() / code_bytes;
    std::vector<std::byte> out(rows * width);
    for (std::size_t i = 0; i < rows; ++i) {
        std::copy_n(codes.data() + i * code_bytes + first, width, out.data() + i * width);
    }
    return out;
}

/// Rows that stand for all: as many as lists or a coarse part ask for, if that is more.
std::size_t train_sample(const StagedIndex& index) {
    return std::max(kTrainSample, index.coarse_traits().training_rows);
}

/// At most `most` of the live rows, evenly spaced.
template <class IsLive>
std::vector<std::uint64_t> sample_rows(
    std::size_t rows, std::size_t live, std::size_t most, const IsLive& is_live) {
    const double step = std::max(1.0, static_cast<double>(live) / static_cast<double>(most));
    std::vector<std::uint64_t> sample;
    double next = 0.0;
    std::size_t seen = 0;
    for (std::uint64_t row = 0; row < rows; ++row) {
        if (!is_live(row)) {
            continue;
        }
        if (static_cast<double>(seen++) >= next) {
            sample.push_back(row);
            next += step;
        }
    }
    return sample;
}

std::vector<float> gather(
    const RawRows& raw, std::span<const std::uint64_t> rows, std::size_t dim) {
    std::vector<float> out(rows.size() * dim);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        std::copy_n(raw.row(rows[i]).data(), dim, out.data() + i * dim);
    }
    return out;
}

} // namespace

void CollectionImpl::upsert(
    std::span<const PointId> ids, MatrixView<const float> embeddings,
    std::span<const std::string> payloads, bool wait) {
    check_ids(ids.size(), embeddings.rows(), payloads.size());
    check_rows(embeddings, "Embedding");
    check_payloads(payloads);
    const std::lock_guard writing(write_mutex_);
    require_open(true);
    if (ids.empty()) {
        return;
    }
    storage::Mutation mutation{.ids = ids, .payloads = payloads};
    storage::Published published;
    if (compressor_ == nullptr) {
        mutation.raw = embeddings;
        apply(mutation, {}, wait, published);
        return;
    }
    const std::size_t bytes = spec_.code_bytes();
    const std::size_t head_bytes = spec_.stage_bytes.front();
    std::vector<std::byte> codes(ids.size() * bytes);
    compressor_->encode(embeddings, bytes, {codes.data(), ids.size(), bytes});
    const std::vector<std::byte> heads = columns(codes, bytes, 0, head_bytes);
    const std::vector<std::byte> tails = columns(codes, bytes, head_bytes, bytes - head_bytes);
    const MatrixView<const std::byte> view(codes.data(), ids.size(), bytes);
    const RowTerms terms{
        picture_.index->rank_terms(view), picture_.index->error_radii(view, embeddings)};
    mutation.heads = {heads.data(), ids.size(), head_bytes};
    mutation.tails = {tails.data(), tails.empty() ? 0 : ids.size(), bytes - head_bytes};
    if (manifest_.keep_raw) {
        mutation.raw = embeddings;
    }
    apply(mutation, terms, wait, published);
    follow_in_calibration(published, mutation.raw.empty() ? embeddings : MatrixView<const float>());
    learn_lists_when_due();
}

std::size_t CollectionImpl::remove(std::span<const PointId> ids, bool wait) {
    const std::lock_guard writing(write_mutex_);
    require_open(true);
    if (ids.empty()) {
        return 0;
    }
    storage::Published published;
    apply({.removals = ids}, {}, wait, published);
    follow_in_calibration(published, {});
    return published.removed_points;
}

/// Writes to the store, then brings memory up to it; searches see both steps as one.
void CollectionImpl::apply(
    const storage::Mutation& mutation, const RowTerms& terms, bool wait,
    storage::Published& published) {
    published = store_->write(
        mutation, wait ? storage::Durability::kSynced : storage::Durability::kBuffered);
    std::shared_ptr<const storage::Snapshot> snapshot = store_->snapshot();
    const auto lock = state_mutex_.write();
    try {
        picture_.ids.insert(picture_.ids.end(), mutation.ids.begin(), mutation.ids.end());
        if (picture_.index) {
            const std::size_t later = spec_.stage_bytes.size() - 1;
            const std::size_t rows = mutation.ids.size();
            picture_.index->add(
                mutation.heads, {terms.rank.data(), later == 0 ? 0 : rows, later},
                {terms.radii.data(), terms.radii.empty() ? 0 : rows, later + 1});
            picture_.index->erase(published.tombstones);
        } else {
            picture_.raw->add(mutation.raw);
            picture_.raw->erase(published.tombstones);
        }
    } catch (...) {
        damaged_ = true;
        throw;
    }
    picture_.snapshot = std::move(snapshot);
    coarse_dirty_ = true;
}

/// Learns lists once there are rows enough, and again each time the rows have doubled: the first
/// ones of an ordered input stand badly for the rest.
void CollectionImpl::learn_lists_when_due() {
    if (picture_.index && lists_lag_by(*picture_.index, 2.0)) {
        learn_lists({});
    }
}

/// Says whether the rows that lists could be learned from are so many times those they were learned
/// from.
bool CollectionImpl::lists_lag_by(const StagedIndex& index, double factor) const {
    const CoarseTraits traits = index.coarse_traits();
    const std::size_t enough =
        std::max({kLeastLearned, kRowsPerList * traits.lists, traits.training_rows});
    const auto sample = static_cast<double>(std::min(index.live_rows(), train_sample(index)));
    return index.live_rows() >= enough &&
           sample >= factor * static_cast<double>(index.learned_rows());
}

/// Searches go on meanwhile: only writers, of which the caller is the only one, change the index.
void CollectionImpl::learn_lists(const ProgressFunction& progress) {
    const StagedIndex& index = *picture_.index;
    const std::vector<std::uint64_t> sample = sample_rows(
        index.rows(), index.live_rows(), train_sample(index),
        [&](std::uint64_t row) { return index.is_live(row); });
    const std::vector<std::byte> codes = codes_of(picture_, sample);
    StagedIndex next = index.trained_anew(
        {codes.data(), sample.size(), spec_.code_bytes()}, {}, {.progress = progress});
    {
        const auto lock = state_mutex_.write();
        *picture_.index = std::move(next);
    }
    coarse_dirty_ = true;
    save_coarse();
    save_calibration();
}

bool CollectionImpl::optimize(const ProgressFunction& progress) {
    const std::lock_guard writing(write_mutex_);
    require_open(true);
    if (!picture_.index) {
        return false;
    }
    const StagedIndex& index = *picture_.index;
    const bool cuts = index.shape().stage_bytes.size() > 1 || index.coarse_traits().lists > 1;
    const bool is_calibrated = !index.is_trained() || !cuts || index.calibrated_by() > 0;
    if (is_calibrated && !lists_lag_by(index, kWorthLearning)) {
        return false;
    }
    learn_lists(progress);
    return true;
}

std::vector<std::byte> CollectionImpl::codes_of(
    const Picture& picture, std::span<const std::uint64_t> rows) const {
    const std::size_t bytes = spec_.code_bytes();
    const std::size_t head_bytes = spec_.stage_bytes.front();
    const std::size_t tail_bytes = bytes - head_bytes;
    std::vector<std::byte> heads(rows.size() * head_bytes);
    std::vector<std::byte> tails(rows.size() * tail_bytes);
    std::vector<std::size_t> lengths(rows.size());
    picture.index->read_heads(rows, {heads.data(), rows.size(), head_bytes});
    picture.snapshot->read_tails(rows, {tails.data(), rows.size(), tail_bytes}, lengths);
    std::vector<std::byte> codes(rows.size() * bytes);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        std::copy_n(heads.data() + i * head_bytes, head_bytes, codes.data() + i * bytes);
        std::copy_n(
            tails.data() + i * tail_bytes, tail_bytes, codes.data() + i * bytes + head_bytes);
    }
    return codes;
}

CollectionTrainReport CollectionImpl::train(const CollectionTrainOptions& options) {
    const auto start = std::chrono::steady_clock::now();
    const std::lock_guard writing(write_mutex_); // Writes wait; searches go on over the float32
                                                 // rows.
    require_open(true);
    if (compressor_ != nullptr) {
        fail(ErrorKind::kFailedPrecondition, "Collection has a model already: ", compressor_->id());
    }
    const RawRows& raw = *picture_.raw;
    if (raw.live_rows() == 0) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Collection has no rows to learn from: ", directory_.string());
    }
    const std::vector<std::uint64_t> live = sample_rows(
        raw.rows(), raw.live_rows(), raw.live_rows(),
        [&](std::uint64_t row) { return raw.is_live(row); });
    CollectionTrainReport report;
    std::shared_ptr<const Compressor> model;
    {
        const std::vector<float> rows = gather(raw, live, manifest_.dim);
        model = Compressor::train(
            {rows.data(), live.size(), manifest_.dim}, {.code_bytes = spec_.code_bytes(),
                                                        .metric = manifest_.metric,
                                                        .time_budget_s = options.time_budget_s,
                                                        .seed = options.seed,
                                                        .device = options.device,
                                                        .progress = options.progress});
    }
    if (!model->report().recall.empty()) {
        report.held_out_recall = model->report().recall.back().recall_at_10;
    }
    const bool keep_raw =
        options.keep_raw || report.held_out_recall.value_or(0.0) < options.minimum_recall;

    std::optional<CalibrationSample> calibration = calibration_of_raw(keep_raw);
    Picture picture;
    picture.ids = picture_.ids;
    picture.index.emplace(model, staged_shape());
    if (raw.live_rows() >= std::max(kLeastLearned, picture.index->coarse_traits().training_rows)) {
        const std::vector<std::uint64_t> sample = sample_rows(
            raw.rows(), raw.live_rows(), train_sample(*picture.index),
            [&](std::uint64_t row) { return raw.is_live(row); });
        const std::vector<float> rows = gather(raw, sample, manifest_.dim);
        std::vector<std::byte> codes(sample.size() * spec_.code_bytes());
        model->encode(
            {rows.data(), sample.size(), manifest_.dim}, spec_.code_bytes(),
            {codes.data(), sample.size(), spec_.code_bytes()});
        picture.index->train(
            {codes.data(), sample.size(), spec_.code_bytes()},
            {rows.data(), sample.size(), manifest_.dim},
            {.seed = options.seed, .progress = options.progress});
    }
    try {
        write_all_codes(picture_, *model, options.progress, *picture.index);
    } catch (...) {
        store_->discard_unpublished_codes();
        throw;
    }
    // From here on nothing can be cancelled. Each step leaves a state that open() understands: the
    // model's files are nobody's until the store's codes are published, which happens at once; the
    // manifest then follows.
    manifest_.keep_raw = keep_raw;
    storage::write_manifest(directory_, manifest_);
    model->save(directory_ / kModelDirectory);
    store_->publish_codes(
        spec_.stage_bytes.front(), spec_.code_bytes() - spec_.stage_bytes.front(), model->id());
    manifest_.model_id = model->id();
    storage::write_manifest(directory_, manifest_);
    if (!keep_raw) {
        store_->drop_raw();
    }
    picture.snapshot = store_->snapshot();
    {
        const auto lock = state_mutex_.write();
        std::swap(picture_, picture);
        compressor_ = model;
        calibration_ = std::move(calibration);
        calibration_dirty_ = true;
        coarse_dirty_ = true;
        save_coarse();
        save_calibration();
    }
    report.model_id = model->id();
    report.rows = live.size();
    report.raw_dropped = !keep_raw;
    report.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return report;
}

/// Encodes every row into the store and the index, in row order; tombstones get zeros, which
/// nothing reads.
void CollectionImpl::write_all_codes(
    const Picture& before, const Compressor& model, const ProgressFunction& progress,
    StagedIndex& index) {
    const RawRows& raw = *before.raw;
    const std::size_t bytes = spec_.code_bytes();
    const std::size_t head_bytes = spec_.stage_bytes.front();
    std::vector<std::uint64_t> dead;
    for (std::size_t first = 0; first < raw.rows(); first += kEncodeRows) {
        const std::size_t count = std::min(kEncodeRows, raw.rows() - first);
        std::vector<std::uint64_t> live;
        for (std::size_t row = first; row < first + count; ++row) {
            (raw.is_live(row) ? live : dead).push_back(row);
        }
        const std::vector<float> rows = gather(raw, live, manifest_.dim);
        std::vector<std::byte> encoded(live.size() * bytes);
        model.encode(
            {rows.data(), live.size(), manifest_.dim}, bytes, {encoded.data(), live.size(), bytes});
        std::vector<std::byte> codes(count * bytes);
        for (std::size_t i = 0; i < live.size(); ++i) {
            std::copy_n(
                encoded.data() + i * bytes, bytes, codes.data() + (live[i] - first) * bytes);
        }
        const std::vector<std::byte> heads = columns(codes, bytes, 0, head_bytes);
        const std::vector<std::byte> tails = columns(codes, bytes, head_bytes, bytes - head_bytes);
        store_->write_codes(
            first, {heads.data(), count, head_bytes},
            {tails.data(), tails.empty() ? 0 : count, bytes - head_bytes});
        const MatrixView<const std::byte> view(codes.data(), count, bytes);
        const std::vector<float> terms = index.rank_terms(view);
        const std::vector<ErrorRadius> radii = // Of tombstones, which have no code, nobody asks.
            index.error_radii(view, {raw.row(first).data(), count, manifest_.dim});
        const std::size_t later = spec_.stage_bytes.size() - 1;
        index.add(
            {heads.data(), count, head_bytes}, {terms.data(), later == 0 ? 0 : count, later},
            {radii.data(), radii.empty() ? 0 : count, later + 1});
        if (progress &&
            !progress({.stage = "encoding", .done = first + count, .total = raw.rows()})) {
            fail(
                ErrorKind::kCancelled,
                "Training was cancelled after encoding rows: ", first + count);
        }
    }
    index.erase(dead);
}

} // namespace arfc
