#include <algorithm>
#include <chrono>

#include "arfc/base/error.h"
#include "collection_impl.h"
#include "stored_tails.h"

namespace arfc {
namespace {

/// Equal scores stand in the order of their ids, which users see, not of their rows, which they do
/// not.
void order(std::vector<Hit>& hits) {
    std::sort(hits.begin(), hits.end(), [](const Hit& a, const Hit& b) {
        return a.score != b.score ? a.score > b.score : a.id < b.id;
    });
}

StagedRequest staged_request(const SearchOptions& options, const StagedIndex& index) {
    // More answers than rows cannot be; room for them need not be made.
    const std::size_t k = std::min(options.k, std::max<std::size_t>(index.rows(), 1));
    StagedRequest request{
        .k = k,
        .stages = options.stages,
        .nprobe = options.nprobe,
        .ef_search = index.coarse_traits().takes_ef_search ? options.ef_search : std::nullopt,
        .until = options.until};
    request.exhaustive = options.exact;
    if (!options.exact || options.until) {
        return request;
    }
    if (!options.stages.empty()) {
        fail(
            ErrorKind::kInvalidArgument,
            "Search cannot be exact and have stages of its own: ", options.stages.size());
    }
    request.stages = {{index.head_bytes(), std::max(index.rows(), k)}};
    if (index.code_bytes() > index.head_bytes()) {
        request.stages.push_back({index.code_bytes(), k});
    }
    return request;
}

} // namespace

SearchAnswer CollectionImpl::search(
    MatrixView<const float> queries, const SearchOptions& options) const {
    check_rows(queries, "Query");
    if (options.k < 1) {
        fail(ErrorKind::kInvalidArgument, "Number of answers is less than one: ", options.k);
    }
    if (options.until) {
        check_until(*options.until);
    }
    SearchAnswer answer;
    answer.hits.resize(queries.rows());
    std::vector<std::vector<storage::Row>> rows(queries.rows());
    std::shared_ptr<const storage::Snapshot> snapshot;
    const auto lock = state_mutex_.read();
    require_open(false);
    snapshot = picture_.snapshot;
    std::function<bool(std::uint64_t)> accepts;
    if (options.filter) {
        accepts = [&](std::uint64_t row) { return options.filter(picture_.ids[row]); };
    }
    const auto take = [&](std::size_t q, std::uint64_t row, float score) {
        answer.hits[q].push_back({picture_.ids[row], score, {}});
        rows[q].push_back(row);
    };
    if (picture_.index) {
        StagedRequest request = staged_request(options, *picture_.index);
        request.accepts = accepts;
        const StoredTails tails(*snapshot);
        const StagedAnswer found = picture_.index->search(queries, request, &tails);
        for (std::size_t i = 0; i < found.rows.size(); ++i) {
            if (found.rows[i] != kNoRow) {
                take(i / request.k, found.rows[i], found.scores[i]);
            }
        }
        answer.stages = found.stages;
        answer.certainty = found.certainty;
    } else {
        if (!options.stages.empty() || options.nprobe ||
            (options.until && options.until->max_bytes)) {
            fail(
                ErrorKind::kFailedPrecondition,
                "Collection has no model yet, so a search has neither stages nor lists, and "
                "reads every row; train it first: ",
                directory_.string());
        }
        const auto start = std::chrono::steady_clock::now();
        const auto found = picture_.raw->search(queries, options.k, accepts);
        for (std::size_t q = 0; q < found.size(); ++q) {
            for (const RawRows::Found& hit : found[q]) {
                take(q, hit.row, hit.score);
            }
        }
        const double seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        const std::size_t row_bytes = manifest_.dim * sizeof(float);
        const std::size_t scored = picture_.raw->live_rows() * queries.rows();
        answer.stages = {{row_bytes, scored, scored * row_bytes, 1000.0 * seconds}};
        answer.certainty.assign(options.until ? queries.rows() : 0, Certainty::kCodes);
    }
    for (std::size_t q = 0; q < answer.hits.size(); ++q) {
        if (options.with_payload) {
            std::vector<std::string> payloads(rows[q].size());
            snapshot->read_payloads(rows[q], payloads);
            for (std::size_t i = 0; i < payloads.size(); ++i) {
                answer.hits[q][i].payload = std::move(payloads[i]);
            }
        }
        order(answer.hits[q]);
    }
    return answer;
}

std::vector<Collection::Point> CollectionImpl::get(
    std::span<const PointId> ids, bool with_vector) const {
    const auto lock = state_mutex_.read();
    require_open(false);
    std::vector<std::optional<storage::Row>> found(ids.size());
    picture_.snapshot->find(ids, found);
    std::vector<Point> points;
    std::vector<storage::Row> rows;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        if (found[i]) {
            points.push_back({ids[i], {}, {}});
            rows.push_back(*found[i]);
        }
    }
    std::vector<std::string> payloads(rows.size());
    picture_.snapshot->read_payloads(rows, payloads);
    std::vector<float> vectors(with_vector ? rows.size() * manifest_.dim : 0);
    if (with_vector && picture_.index) {
        const std::vector<std::byte> codes = codes_of(picture_, rows);
        compressor_->decode(
            {codes.data(), rows.size(), spec_.code_bytes()},
            {vectors.data(), rows.size(), manifest_.dim});
    }
    for (std::size_t i = 0; i < points.size(); ++i) {
        points[i].payload = std::move(payloads[i]);
        if (!with_vector) {
            continue;
        }
        const std::span<const float> vector =
            picture_.raw
                ? picture_.raw->row(rows[i])
                : std::span<const float>(vectors).subspan(i * manifest_.dim, manifest_.dim);
        points[i].vector.assign(vector.begin(), vector.end());
    }
    return points;
}

} // namespace arfc
