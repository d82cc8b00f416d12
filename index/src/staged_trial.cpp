#include "staged_trial.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <utility>

namespace arfc {
namespace {

constexpr std::size_t kScannedRows = std::size_t{1} << 16; // 1 MB of 16-byte heads: as fast a row
                                                           // as millions.
constexpr std::size_t kScans = 15;

/// Tails of a sample that stands for more rows: row r has that of r modulo the sample's.
class RepeatedTails final : public TailSource {
  public:
    RepeatedTails(MatrixView<const std::byte> codes, std::size_t head) noexcept
        : codes_(codes), head_(head) {}

    void read_tails(
        std::span<const std::uint64_t> rows, MatrixView<std::byte> tails,
        std::span<std::size_t> lengths) const override {
        for (std::size_t i = 0; i < rows.size(); ++i) {
            std::copy_n(
                codes_.row(rows[i] % codes_.rows()).data() + head_, tails.cols(),
                tails.row(i).data());
            lengths[i] = tails.cols();
        }
    }

  private:
    MatrixView<const std::byte> codes_;
    std::size_t head_;
};

/// Copies columns [0, width) of rows [0, count).
std::vector<std::byte> heads_of(
    MatrixView<const std::byte> codes, std::size_t count, std::size_t width) {
    std::vector<std::byte> heads(count * width);
    for (std::size_t i = 0; i < count; ++i) {
        std::copy_n(codes.row(i).data(), width, heads.data() + i * width);
    }
    return heads;
}

std::size_t rows_of(Part part, std::size_t rows) {
    switch (part) {
        case Part::kFirstQuarter: return rows / 4;
        case Part::kFirstHalf: return rows / 2;
        case Part::kWhole: break;
    }
    return rows;
}

double median(std::vector<double> values) {
    std::ranges::nth_element(
        values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
    return values[values.size() / 2];
}

} // namespace

StagedTrial::StagedTrial(
    const PlanSample& sample, const PrefixRecall& ground, StagedShape shape, Part part,
    std::uint64_t seed)
    : sample_(sample), ground_(ground), part_(part), index_(sample.compressor, std::move(shape)) {
    const std::size_t rows = rows_of(part, sample.codes.rows());
    const std::size_t width = index_.code_bytes();
    const std::vector<std::byte> codes = heads_of(sample.codes, rows, width);
    const MatrixView<const std::byte> view(codes.data(), rows, width);
    const bool has_lists = index_.shape().nlist > 1;
    // Limits and nprobe are the plan's to choose; how many lists hold a row is the index's.
    index_.train(
        view, sample.originals.slice(0, sample.originals.empty() ? 0 : rows),
        {.seed = seed, .measures_defaults = has_lists});
    const std::vector<std::byte> heads = heads_of(sample.codes, rows, index_.head_bytes());
    const std::vector<float> terms = index_.rank_terms(view);
    const std::size_t later = index_.shape().stage_bytes.size() - 1;
    index_.add(
        {heads.data(), rows, index_.head_bytes()}, {terms.data(), later == 0 ? 0 : rows, later});
}

/// @param more  Rows that each stage keeps for the query's own, which is then left out.
StagedRequest StagedTrial::request(const SearchEffort& effort, std::size_t more) const {
    StagedRequest request{
        .k = sample_.k + more, .nprobe = effort.nprobe, .ef_search = effort.ef_search};
    for (const std::size_t bytes : shape().stage_bytes) {
        const bool is_last = bytes == shape().stage_bytes.back();
        request.stages.push_back({bytes, is_last ? 0 : effort.limit + more});
    }
    return request;
}

std::vector<double> StagedTrial::recalls(
    const SearchEffort& effort, Part part, std::size_t first, std::size_t count) const {
    StagedRequest asked = request(effort, 1);
    const std::size_t rows = rows_of(part, sample_.codes.rows());
    if (rows < index_.rows()) {
        asked.accepts = [rows](std::uint64_t row) { return row < rows; };
    }
    const RepeatedTails tails(sample_.codes, index_.head_bytes());
    const StagedAnswer answer = index_.search(ground_.queries().slice(first, count), asked, &tails);
    std::vector<double> recalls(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::span<const std::uint32_t> truth = ground_.truth(part, first + i);
        std::size_t found = 0;
        std::size_t taken = 0;
        for (std::size_t j = 0; j < asked.k && taken < sample_.k; ++j) {
            const std::uint64_t row = answer.rows[i * asked.k + j];
            if (row != first + i) {
                ++taken;
                found += std::ranges::find(truth, row) != truth.end() ? 1 : 0;
            }
        }
        recalls[i] = static_cast<double>(found) / static_cast<double>(sample_.k);
    }
    return recalls;
}

TrialCost StagedTrial::cost(const SearchEffort& effort, std::size_t q) const {
    const RepeatedTails tails(sample_.codes, index_.head_bytes());
    const StagedRequest asked = request(effort, 0);
    const auto start = std::chrono::steady_clock::now();
    const StagedAnswer answer = index_.search(ground_.queries().slice(q, 1), asked, &tails);
    const double milliseconds =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    return {milliseconds, answer.stages.front().milliseconds, answer.stages.front().candidates};
}

double StagedTrial::milliseconds_a_row(const SearchEffort& effort) const {
    StagedIndex larger(sample_.compressor, shape());
    larger.restore(index_.save());
    const std::vector<std::byte> heads = heads_of(sample_.codes, rows(), index_.head_bytes());
    while (larger.rows() < kScannedRows || larger.rows() < 2 * rows()) {
        larger.add({heads.data(), rows(), index_.head_bytes()});
    }
    const RepeatedTails tails(sample_.codes, index_.head_bytes());
    const StagedRequest asked = request(effort, 0);
    std::array<std::vector<double>, 2> milliseconds;
    for (std::size_t scan = 0; scan < kScans; ++scan) {
        const MatrixView<const float> query = ground_.queries().slice(scan % sample_.queries, 1);
        for (const StagedIndex* const index : {&index_, &std::as_const(larger)}) {
            const StagedAnswer answer = index->search(query, asked, &tails);
            milliseconds[index == &larger].push_back(answer.stages.front().milliseconds);
        }
    }
    const double more = median(milliseconds[1]) - median(milliseconds[0]);
    return std::max(0.0, more) / static_cast<double>(larger.rows() - rows());
}

TrialBytes StagedTrial::bytes() const {
    const StagedBytes bytes = index_.resident_bytes();
    const bool has_lists = shape().nlist > 1;
    const double fixed = static_cast<double>(
        has_lists ? shape().nlist * sample_.compressor->dim() * sizeof(float) : 0);
    return {(static_cast<double>(bytes.total()) - fixed) / static_cast<double>(rows()), fixed};
}

} // namespace arfc
