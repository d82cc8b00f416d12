// Random operations on indexes of FAISS's kind, each answer compared with brute force over a table.

#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>

#include <algorithm>
#include <array>
#include <iostream>
#include <limits>
#include <optional>

#include "arfc/base/error.h"
#include "arfc/index/arfc_index.h"
#include "arfc/index/index_io.h"
#include "collection_model.h"
#include "expect_error.h"
#include "random_run.h"
#include "temporary_directory.h"

namespace arfc {
namespace {

using test::kDim;
using test::kRows;
using test::ScoreTable;

constexpr std::array kFactories = {"ARFC12",         "ARFC12/4",      "ARFC12/8/4,IVF8",
                                   "ARFC12/4,HNSW3", "ARFC12/4,NSG4", "ARFC12/4,IVF8,SQ8"};
constexpr std::size_t kSteps = 25;
constexpr std::size_t kTrainingRows = 300;

/// Selects a share of the ids, scattered, in thousandths.
struct ShareOfIds : faiss::IDSelector {
    ShareOfIds(std::size_t of_thousand, std::size_t with_salt)
        : thousandths(of_thousand), salt(with_salt) {}
    [[nodiscard]] bool is_member(std::int64_t id) const override {
        std::uint64_t mixed = (static_cast<std::uint64_t>(id) + salt) * 0x9E3779B97F4A7C15U;
        mixed ^= mixed >> 29U;
        return (mixed * 0xBF58476D1CE4E5B9U >> 32U) % 1000 < thousandths;
    }
    std::size_t thousandths;
    std::size_t salt;
};

/// One index and, as a table, the rows that it must hold, in order.
class Round {
  public:
    explicit Round(std::uint64_t seed)
        : draw_(seed), metric_(seed % 2 == 0 ? Metric::kInnerProduct : Metric::kL2),
          factory_(kFactories.at(seed % kFactories.size())) {
        ArfcIndex index(
            static_cast<int>(kDim), factory_,
            metric_ == Metric::kL2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT);
        index.train(kTrainingRows, test::rows_to_draw().data());
        write_index(index, directory_ / "trained");
        index_ = read("trained");
        scores_ = std::make_shared<const ScoreTable>(
            metric_, Compressor::open(index.compressor()->files()));
    }

    void play() {
        SCOPED_TRACE(factory_ + " " + std::string(to_string(metric_)));
        add(*index_, rows_, draw_.between(0, 1500));
        for (std::size_t step = 0; step < kSteps && !testing::Test::HasFailure(); ++step) {
            SCOPED_TRACE("step " + std::to_string(step));
            SCOPED_TRACE(take_a_step());
            check_search();
            check_range_search();
        }
    }

    [[nodiscard]] std::size_t answers() const { return answers_; }

  private:
    /// Rows of an index, and their ids.
    struct Rows {
        std::vector<std::size_t> row; ///< Of the table of scores.
        std::vector<std::int64_t> id; ///< Positions, until ids are given.
        bool has_ids = false;
    };
    struct Found {
        std::int64_t id;
        float distance;
        bool operator==(const Found&) const = default;
        friend void PrintTo(const Found& found, std::ostream* out) {
            *out << found.id << " at " << found.distance;
        }
    };

    [[nodiscard]] std::unique_ptr<ArfcIndex> read(const std::string& name) const {
        std::unique_ptr<faiss::Index> index = read_index(directory_ / name);
        return std::unique_ptr<ArfcIndex>(dynamic_cast<ArfcIndex*>(index.release()));
    }

    /// @returns what it did.
    std::string take_a_step() {
        switch (draw_.between(0, 9)) {
            case 0: merge(); return "merge";
            case 1:
            case 2: write_and_read(); return "write and read";
            case 3:
            case 4:
            case 5: remove(); return "remove";
            case 6: reconstruct(); return "reconstruct";
            case 7:
                if (draw_.one_in(4)) {
                    index_->reset();
                    rows_ = {};
                    return "reset";
                }
                [[fallthrough]];
            default: add(*index_, rows_, draw_.between(0, 80)); return "add";
        }
    }

    void add(ArfcIndex& index, Rows& rows, std::size_t count) {
        const bool gives_ids = draw_.one_in(3);
        std::vector<float> values;
        std::vector<std::int64_t> ids;
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t row = draw_.between(0, kRows - 1);
            const std::span<const float> floats = scores_->row(row).row(0);
            values.insert(values.end(), floats.begin(), floats.end());
            ids.push_back(gives_ids ? some_id() : static_cast<std::int64_t>(rows.row.size()));
            rows.row.push_back(row);
            rows.id.push_back(ids.back());
        }
        rows.has_ids = rows.has_ids || (gives_ids && count > 0);
        gives_ids ? index.add_with_ids(static_cast<std::int64_t>(count), values.data(), ids.data())
                  : index.add(static_cast<std::int64_t>(count), values.data());
    }

    /// Also negative ones, but for -1, which says that no row took a place.
    std::int64_t some_id() { return 2 * static_cast<std::int64_t>(draw_.between(0, 2000)) - 1000; }

    void remove() {
        const ShareOfIds gone(draw_.of({0, 5, 50, 300, 900}), draw_.between(0, 1000));
        Rows left{.has_ids = rows_.has_ids};
        for (std::size_t i = 0; i < rows_.row.size(); ++i) {
            if (!gone.is_member(rows_.id[i])) {
                left.row.push_back(rows_.row[i]);
                left.id.push_back(
                    rows_.has_ids ? rows_.id[i] : static_cast<std::int64_t>(left.id.size()));
            }
        }
        EXPECT_EQ(index_->remove_ids(gone), rows_.row.size() - left.row.size());
        rows_ = left;
    }

    void merge() {
        const std::unique_ptr<ArfcIndex> other = read("trained");
        Rows more;
        add(*other, more, draw_.between(0, 300));
        const bool by_position = !rows_.has_ids && !more.has_ids;
        const auto before = static_cast<std::int64_t>(rows_.row.size());
        const std::int64_t add_id = by_position
                                      ? before * draw_.one_in(2)
                                      : 2 * static_cast<std::int64_t>(draw_.between(0, 49));
        index_->merge_from(*other, add_id);
        EXPECT_EQ(other->ntotal, 0);
        for (std::size_t i = 0; i < more.row.size(); ++i) {
            rows_.row.push_back(more.row[i]);
            rows_.id.push_back(more.id[i] + (by_position ? before : add_id));
        }
        rows_.has_ids = rows_.has_ids || (!by_position && !more.row.empty());
    }

    void write_and_read() {
        const std::size_t query = draw_.between(0, scores_->query_count() - 1);
        const std::vector<Found> before = search(query, 10, nullptr);
        write_index(*index_, directory_ / "index");
        index_ = read("index");
        EXPECT_EQ(search(query, 10, nullptr), before);
    }

    void reconstruct() {
        const auto id = some_id();
        const auto place = std::ranges::find(rows_.id, id);
        std::vector<float> row(kDim);
        if (place == rows_.id.end()) {
            ARFC_EXPECT_ERROR(
                index_->reconstruct(id, row.data()), ErrorKind::kNotFound, std::to_string(id));
            return;
        }
        index_->reconstruct(id, row.data());
        EXPECT_EQ(
            row, scores_->vector_of(rows_.row[static_cast<std::size_t>(place - rows_.id.begin())]));
    }

    /// As FAISS says it: a squared distance, or an inner product.
    [[nodiscard]] float distance(std::size_t bytes, std::size_t query, std::size_t row) const {
        const float score = scores_->score(bytes, query, row);
        return metric_ == Metric::kL2 ? -score : score;
    }
    [[nodiscard]] bool is_nearer(float a, float b) const {
        return metric_ == Metric::kL2 ? a < b : a > b;
    }

    /// Every selected row by a prefix, in the order they were added.
    [[nodiscard]] std::vector<Found> all(
        std::size_t query, std::size_t bytes, const faiss::IDSelector* sel) const {
        std::vector<Found> found;
        for (std::size_t i = 0; i < rows_.row.size(); ++i) {
            if (sel == nullptr || sel->is_member(rows_.id[i])) {
                found.push_back({rows_.id[i], distance(bytes, query, rows_.row[i])});
            }
        }
        return found;
    }

    std::vector<Found> search(
        std::size_t query, std::size_t k, const faiss::SearchParameters* params) {
        std::vector<float> distances(k);
        std::vector<std::int64_t> labels(k);
        index_->search(
            1, scores_->query(query).data(), static_cast<std::int64_t>(k), distances.data(),
            labels.data(), params);
        std::vector<Found> found;
        for (std::size_t i = 0; i < k && labels[i] != -1; ++i) {
            found.push_back({labels[i], distances[i]});
        }
        for (std::size_t i = found.size(); i < k; ++i) {
            EXPECT_EQ(labels[i], -1) << "after a place that no row took";
        }
        ++answers_;
        return found;
    }

    void check_search() {
        const std::size_t query = draw_.between(0, scores_->query_count() - 1);
        const std::size_t k = draw_.of({1, 10, 50, 3000});
        ShareOfIds share(draw_.of({0, 5, 300, 990}), draw_.between(0, 1000));
        SearchParametersARFC params;
        params.sel = draw_.one_in(2) ? &share : nullptr;
        std::vector<Found> best = all(query, 12, params.sel);
        std::ranges::stable_sort(best, [&](const Found& a, const Found& b) {
            return is_nearer(a.distance, b.distance);
        });
        best.resize(std::min(k, best.size()));
        const bool is_of_faiss = factory_.ends_with("SQ8");
        if (index_->nlist() > 1 && !is_of_faiss) {
            params.nprobe = index_->nlist();
        }
        if (draw_.one_in(2) && !is_of_faiss && factory_ != "ARFC12") {
            params.stages = {{4, rows_.row.size() + k}, {12, 0}}; // Every row is ranked.
            ASSERT_EQ(search(query, k, &params), best);
            return;
        }
        const std::vector<Found> found = search(query, k, &params);
        if (factory_ == "ARFC12") {
            ASSERT_EQ(found, best);
        }
        ASSERT_EQ(found.size(), best.size());
        const std::vector<Found> of_all = all(query, 12, params.sel);
        for (std::size_t i = 0; i < found.size(); ++i) {
            ASSERT_TRUE(std::ranges::find(of_all, found[i]) != of_all.end())
                << found[i].id << " at " << found[i].distance;
            ASSERT_FALSE(i > 0 && is_nearer(found[i].distance, found[i - 1].distance));
        }
    }

    void check_range_search() {
        const std::size_t query = draw_.between(0, scores_->query_count() - 1);
        ShareOfIds share(draw_.of({5, 300, 990}), draw_.between(0, 1000));
        SearchParametersARFC params;
        params.sel = draw_.one_in(2) ? &share : nullptr;
        if (index_->nlist() > 1) {
            params.nprobe = index_->nlist();
        }
        std::vector<Found> within = all(query, 12, params.sel);
        const float radius =
            within.empty() ? 0.0F : within[draw_.between(0, within.size() - 1)].distance;
        std::erase_if(within, [&](const Found& row) { return !is_nearer(row.distance, radius); });
        faiss::RangeSearchResult result(1);
        index_->range_search(1, scores_->query(query).data(), radius, &result, &params);
        std::vector<Found> found;
        for (std::size_t i = 0; i < result.lims[1]; ++i) {
            found.push_back({result.labels[i], result.distances[i]});
        }
        ASSERT_EQ(found, within) << "within " << radius;
        ++answers_;
    }

    test::Draw draw_;
    Metric metric_;
    std::string factory_;
    test::TemporaryDirectory directory_;
    std::unique_ptr<ArfcIndex> index_;
    std::shared_ptr<const ScoreTable> scores_;
    Rows rows_;
    std::size_t answers_ = 0;
};

TEST(ArfcIndexRandomTest, AnswersAsBruteForceDoes) {
    std::size_t rounds = 0;
    std::size_t answers = 0;
    test::RandomRun(kFactories.size()).play([&](std::uint64_t seed) {
        Round round(seed);
        round.play();
        ++rounds;
        answers += round.answers();
    });
    std::cout << rounds << " rounds of " << kSteps << " steps, " << answers << " answers"
              << std::endl;
}

} // namespace
} // namespace arfc
