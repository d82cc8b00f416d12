#include "arfc/index/shards.h"

#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <optional>
#include <utility>

#include "arfc/base/error.h"
#include "faiss_errors.h"
#include "index_checks.h"
#include "search_parameters.h"

namespace arfc {
namespace {

using Ids = std::vector<std::int64_t>;

/// Asks a selector of ids about a shard's positions.
class ShiftedSelector final : public faiss::IDSelector {
  public:
    ShiftedSelector(const faiss::IDSelector& of_all, std::int64_t first)
        : of_all_(of_all), first_(first) {}
    bool is_member(std::int64_t position) const override {
        return of_all_.is_member(first_ + position);
    }

  private:
    const faiss::IDSelector& of_all_;
    std::int64_t first_;
};

/// Parameters for one shard: the caller's, with the selector shifted where there is one.
class ShardParameters {
  public:
    ShardParameters(const faiss::SearchParameters* params, std::int64_t first) : params_(params) {
        if (params != nullptr && params->sel != nullptr && first != 0) {
            selector_.emplace(*params->sel, first);
            copy_ = with_selector(*params, &*selector_);
            params_ = copy_.get();
        }
    }
    [[nodiscard]] const faiss::SearchParameters* get() const noexcept { return params_; }

  private:
    std::optional<ShiftedSelector> selector_;
    std::unique_ptr<faiss::SearchParameters> copy_;
    const faiss::SearchParameters* params_;
};

/// What several indexes say of how sure their answers are, for who asks.
class CertaintyOfParts {
  public:
    /// @param shares  Indexes among which the rows of one answer lie: each may miss its share, and
    ///                read its share.
    CertaintyOfParts(const faiss::SearchParameters* params, std::size_t parts, std::size_t shares)
        : of_parts_(parts) {
        for (std::vector<Certainty>& certainty : of_parts_) {
            params_.push_back(with_certainty(params, &certainty));
            if (params_.back() != nullptr && params_.back()->until) {
                divide(*params_.back()->until, shares);
            }
        }
        const auto* const arfc = dynamic_cast<const SearchParametersARFC*>(params);
        out_ = arfc == nullptr ? nullptr : arfc->certainty;
    }

    /// Returns the parameters of one index; the caller's, where nobody asks.
    [[nodiscard]] const faiss::SearchParameters* of(
        std::size_t part, const faiss::SearchParameters* params) const noexcept {
        return params_[part] == nullptr ? params : params_[part].get();
    }

    /// Tells the least of what shards say. The nearest originals of each are not those of all:
    /// which of them those are, codes alone decide.
    void tell_least(std::size_t queries) const {
        if (out_ == nullptr) {
            return;
        }
        const Certainty most = of_parts_.size() == 1 ? Certainty::kOriginals : Certainty::kCodes;
        out_->assign(queries, most);
        for (const std::vector<Certainty>& certainty : of_parts_) {
            for (std::size_t q = 0; q < queries; ++q) {
                const Certainty one = q < certainty.size() ? certainty[q] : Certainty::kNone;
                (*out_)[q] = std::min((*out_)[q], one);
            }
        }
    }

    /// Tells what replicas say, one after another.
    void tell_all() const {
        if (out_ != nullptr) {
            out_->clear();
            for (const std::vector<Certainty>& certainty : of_parts_) {
                out_->insert(out_->end(), certainty.begin(), certainty.end());
            }
        }
    }

  private:
    static void divide(Until& until, std::size_t shares) {
        if (until.confidence) {
            until.confidence = 1.0 - (1.0 - *until.confidence) / static_cast<double>(shares);
        }
        if (until.max_bytes) {
            until.max_bytes = *until.max_bytes / shares;
        }
    }

    std::vector<std::vector<Certainty>> of_parts_;
    std::vector<std::unique_ptr<SearchParametersARFC>> params_;
    std::vector<Certainty>* out_ = nullptr;
};

/// Calls work(i, child) for every index behind; each finishes, then the first error is thrown.
/// FAISS would put several errors' texts into one exception without a kind.
template <class Parent, class Work>
void for_each_child(Parent& parent, const Work& work) {
    std::vector<std::exception_ptr> errors(static_cast<std::size_t>(parent.count()));
    parent.runOnIndex([&](int i, auto* child) -> void {
        try {
            translate_faiss(
                ErrorKind::kInvalidArgument, "Index behind shards or replicas refuses",
                [&] { work(static_cast<std::size_t>(i), *child); });
        } catch (...) {
            errors[static_cast<std::size_t>(i)] = std::current_exception();
        }
    });
    for (const std::exception_ptr& error : errors) {
        if (error != nullptr) {
            std::rethrow_exception(error);
        }
    }
}

template <class Parent>
void require_children(const Parent& parent) {
    if (parent.count() == 0) {
        fail(ErrorKind::kFailedPrecondition, "Index has nothing behind it yet; add an index first");
    }
}

/// FAISS would find out when it has taken half of them over.
/// @param same_rows  Number of rows must agree too.
int width_of(const std::vector<std::unique_ptr<faiss::Index>>& children, bool same_rows) {
    if (children.empty() ||
        std::ranges::any_of(children, [](const auto& child) { return child == nullptr; })) {
        fail(
            ErrorKind::kInvalidArgument,
            "Shards and replicas need at least one index, and no null: ", children.size());
    }
    const faiss::Index& first = *children.front();
    for (const auto& child : children) {
        if (child->d != first.d || child->metric_type != first.metric_type ||
            child->is_trained != first.is_trained || (same_rows && child->ntotal != first.ntotal)) {
            fail(
                ErrorKind::kInvalidArgument,
                "Indexes differ in width, metric, training or, as replicas, rows: ", child->d, ", ",
                static_cast<int>(child->metric_type), ", ", child->is_trained, ", ", child->ntotal,
                ", expected ", first.d, ", ", static_cast<int>(first.metric_type), ", ",
                first.is_trained, ", ", first.ntotal);
        }
    }
    return first.d;
}

/// Gives each index to FAISS, whose class deletes it.
template <class Parent>
void take_over(Parent& parent, std::vector<std::unique_ptr<faiss::Index>> children) {
    parent.own_fields = true;
    for (std::unique_ptr<faiss::Index>& child : children) {
        parent.addIndex(child.release());
    }
}

/// Run i of `count` rows divided into `parts` runs: [begin, end).
std::pair<std::size_t, std::size_t> run(std::size_t i, std::size_t parts, std::size_t count) {
    return {i * count / parts, (i + 1) * count / parts};
}

/// What several indexes answered to the same queries.
struct Answers {
    std::vector<float> distances;     ///< [shards, n, k].
    std::vector<std::int64_t> labels; ///< [shards, n, k].
};

/// Keeps the k best of all shards' answers to one query.
void merge(
    const Answers& answers, std::size_t query, std::size_t queries, std::size_t k, bool is_l2,
    float* distances, std::int64_t* labels) {
    std::vector<std::size_t> places; // In the order of shards, so that ties keep it.
    for (std::size_t first = query * k; first < answers.labels.size(); first += queries * k) {
        for (std::size_t i = first; i < first + k; ++i) {
            // Places that no row took have the worst distance, and ids may be negative.
            if (answers.labels[i] != -1) {
                places.push_back(i);
            }
        }
    }
    std::ranges::stable_sort(places, [&](std::size_t a, std::size_t b) {
        return is_l2 ? answers.distances[a] < answers.distances[b]
                     : answers.distances[a] > answers.distances[b];
    });
    for (std::size_t i = 0; i < k; ++i) {
        const bool is_row = i < places.size();
        labels[i] = is_row ? answers.labels[places[i]] : -1;
        distances[i] = is_row ? answers.distances[places[i]]
                              : (is_l2 ? 1.0F : -1.0F) * std::numeric_limits<float>::max();
    }
}

/// A part of a range search's answer: of some queries, or of some rows.
struct RangePart {
    std::unique_ptr<faiss::RangeSearchResult> result;
    std::size_t first_query = 0;
    std::int64_t first_id = 0;
};

/// Brings parts together, in their order within each query.
void join(const std::vector<RangePart>& parts, faiss::RangeSearchResult& result) {
    std::fill_n(result.lims, result.nq, std::size_t{0});
    for (const RangePart& part : parts) {
        for (std::size_t q = 0; q < part.result->nq; ++q) {
            result.lims[part.first_query + q] += part.result->lims[q + 1] - part.result->lims[q];
        }
    }
    allocate(result);
    std::vector<std::size_t> next(result.lims, result.lims + result.nq);
    for (const RangePart& part : parts) {
        for (std::size_t q = 0; q < part.result->nq; ++q) {
            for (std::size_t i = part.result->lims[q]; i < part.result->lims[q + 1]; ++i) {
                const std::size_t to = next[part.first_query + q]++;
                result.distances[to] = part.result->distances[i];
                result.labels[to] = part.result->labels[i] + part.first_id;
            }
        }
    }
}

} // namespace

ShardsIndex::ShardsIndex(int width, bool threaded, bool successive)
    : faiss::IndexShards(width, threaded, successive) {
    is_trained = false;
}

ShardsIndex::ShardsIndex(
    std::vector<std::unique_ptr<faiss::Index>> shards, bool threaded, bool successive)
    : ShardsIndex(width_of(shards, false), threaded, successive) {
    take_over(*this, std::move(shards));
}

void ShardsIndex::train(std::int64_t n, const float* x) {
    require_children(*this);
    for_each_child(*this, [&](std::size_t, faiss::Index& shard) { shard.train(n, x); });
    syncWithSubIndexes();
}

void ShardsIndex::add(std::int64_t n, const float* x) {
    add_with_ids(n, x, nullptr);
}

void ShardsIndex::add_with_ids(std::int64_t n, const float* x, const std::int64_t* xids) {
    require_children(*this);
    if (successive_ids && xids != nullptr) {
        fail(
            ErrorKind::kInvalidArgument,
            "Ids of these shards are successive positions; make them with successive = false "
            "to give ids");
    }
    if (successive_ids && ntotal > 0) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Shards of successive ids take all their rows in one call; rows already: ", ntotal);
    }
    const std::size_t rows = checked_count(n);
    Ids ids(xids != nullptr ? xids : nullptr, xids != nullptr ? xids + n : nullptr);
    for (std::size_t i = 0; !successive_ids && ids.size() < rows; ++i) {
        ids.push_back(ntotal + static_cast<std::int64_t>(i));
    }
    const bool were_empty = ntotal == 0;
    try {
        for_each_child(*this, [&](std::size_t i, faiss::Index& shard) {
            const auto [begin, end] = run(i, static_cast<std::size_t>(count()), rows);
            const auto some = static_cast<std::int64_t>(end - begin);
            const float* const from = x + begin * static_cast<std::size_t>(d);
            successive_ids ? shard.add(some, from)
                           : shard.add_with_ids(some, from, ids.data() + begin);
        });
    } catch (const Error&) {
        if (were_empty) {
            reset();
        } else {
            syncWithSubIndexes();
        }
        throw;
    }
    syncWithSubIndexes();
}

/// Returns what is added to the labels of each shard.
std::vector<std::int64_t> ShardsIndex::first_ids() const {
    Ids first(static_cast<std::size_t>(count()));
    for (std::size_t i = 1; successive_ids && i < first.size(); ++i) {
        first[i] = first[i - 1] + at(static_cast<int>(i - 1))->ntotal;
    }
    return first;
}

void ShardsIndex::search(
    std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
    const faiss::SearchParameters* params) const {
    require_children(*this);
    const std::size_t queries = checked_count(n);
    if (k < 1) {
        fail(ErrorKind::kInvalidArgument, "Number of answers is below 1: ", k);
    }
    const auto answers = static_cast<std::size_t>(k);
    const Ids first = first_ids();
    const std::size_t size = queries * answers;
    Answers all{std::vector<float>(first.size() * size), Ids(first.size() * size)};
    const CertaintyOfParts certainty(params, first.size(), first.size());
    for_each_child(*this, [&](std::size_t i, const faiss::Index& shard) {
        const ShardParameters shifted(certainty.of(i, params), first[i]);
        std::int64_t* const found = all.labels.data() + i * size;
        shard.search(n, x, k, all.distances.data() + i * size, found, shifted.get());
        for (std::size_t j = 0; j < size; ++j) {
            found[j] += found[j] == -1 ? 0 : first[i];
        }
    });
    for (std::size_t q = 0; q < queries; ++q) {
        merge(
            all, q, queries, answers, metric_type == faiss::METRIC_L2, distances + q * answers,
            labels + q * answers);
    }
    certainty.tell_least(queries);
}

void ShardsIndex::range_search(
    std::int64_t n, const float* x, float radius, faiss::RangeSearchResult* result,
    const faiss::SearchParameters* params) const {
    require_children(*this);
    require_result(result, checked_count(n));
    const Ids first = first_ids();
    std::vector<RangePart> parts(first.size());
    for_each_child(*this, [&](std::size_t i, const faiss::Index& shard) {
        const ShardParameters shifted(params, first[i]);
        parts[i].result = std::make_unique<faiss::RangeSearchResult>(result->nq);
        parts[i].first_id = first[i];
        shard.range_search(n, x, radius, parts[i].result.get(), shifted.get());
    });
    join(parts, *result);
}

void ShardsIndex::reconstruct(std::int64_t key, float* recons) const {
    const Ids first = first_ids();
    for (std::size_t i = 0; i < first.size(); ++i) {
        const faiss::Index& shard = *at(static_cast<int>(i));
        const std::int64_t own = key - first[i];
        if (successive_ids && (own < 0 || own >= shard.ntotal)) {
            continue;
        }
        try {
            translate_faiss(ErrorKind::kNotFound, "Shard does not reconstruct", [&] {
                shard.reconstruct(own, recons);
            });
            return;
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::kNotFound) {
                throw;
            }
        }
    }
    fail(ErrorKind::kNotFound, "Index holds no row of id: ", key);
}

std::size_t ShardsIndex::remove_ids(const faiss::IDSelector& sel) {
    const Ids first = first_ids();
    std::vector<std::size_t> gone(first.size());
    for_each_child(*this, [&](std::size_t i, faiss::Index& shard) {
        gone[i] = shard.remove_ids(ShiftedSelector(sel, first[i]));
    });
    syncWithSubIndexes();
    std::size_t total = 0;
    for (const std::size_t count : gone) {
        total += count;
    }
    return total;
}

void ShardsIndex::reset() {
    for_each_child(*this, [](std::size_t, faiss::Index& shard) { shard.reset(); });
    syncWithSubIndexes();
}

ReplicasIndex::ReplicasIndex(int width, bool threaded) : faiss::IndexReplicas(width, threaded) {
    is_trained = false;
}

ReplicasIndex::ReplicasIndex(std::vector<std::unique_ptr<faiss::Index>> replicas, bool threaded)
    : ReplicasIndex(width_of(replicas, true), threaded) {
    take_over(*this, std::move(replicas));
}

void ReplicasIndex::train(std::int64_t n, const float* x) {
    require_children(*this);
    for_each_child(*this, [&](std::size_t, faiss::Index& replica) { replica.train(n, x); });
    syncWithSubIndexes();
}

void ReplicasIndex::add(std::int64_t n, const float* x) {
    require_children(*this);
    for_each_child(*this, [&](std::size_t, faiss::Index& replica) { replica.add(n, x); });
    syncWithSubIndexes();
}

void ReplicasIndex::add_with_ids(std::int64_t n, const float* x, const std::int64_t* xids) {
    require_children(*this);
    for_each_child(
        *this, [&](std::size_t, faiss::Index& replica) { replica.add_with_ids(n, x, xids); });
    syncWithSubIndexes();
}

void ReplicasIndex::search(
    std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
    const faiss::SearchParameters* params) const {
    require_children(*this);
    const std::size_t queries = checked_count(n);
    const auto answers = static_cast<std::size_t>(std::max<std::int64_t>(k, 0));
    const CertaintyOfParts certainty(params, static_cast<std::size_t>(count()), 1);
    for_each_child(*this, [&](std::size_t i, const faiss::Index& replica) {
        const auto [begin, end] = run(i, static_cast<std::size_t>(count()), queries);
        if (begin < end) {
            replica.search(
                static_cast<std::int64_t>(end - begin), x + begin * static_cast<std::size_t>(d), k,
                distances + begin * answers, labels + begin * answers, certainty.of(i, params));
        }
    });
    certainty.tell_all();
}

void ReplicasIndex::range_search(
    std::int64_t n, const float* x, float radius, faiss::RangeSearchResult* result,
    const faiss::SearchParameters* params) const {
    require_children(*this);
    require_result(result, checked_count(n));
    std::vector<RangePart> parts(static_cast<std::size_t>(count()));
    for_each_child(*this, [&](std::size_t i, const faiss::Index& replica) {
        const auto [begin, end] = run(i, parts.size(), result->nq);
        parts[i].result = std::make_unique<faiss::RangeSearchResult>(end - begin);
        parts[i].first_query = begin;
        replica.range_search(
            static_cast<std::int64_t>(end - begin), x + begin * static_cast<std::size_t>(d), radius,
            parts[i].result.get(), params);
    });
    join(parts, *result);
}

void ReplicasIndex::reconstruct(std::int64_t key, float* recons) const {
    require_children(*this);
    translate_faiss(ErrorKind::kNotFound, "Replica does not reconstruct", [&] {
        at(0)->reconstruct(key, recons);
    });
}

std::size_t ReplicasIndex::remove_ids(const faiss::IDSelector& sel) {
    std::vector<std::size_t> gone(static_cast<std::size_t>(count()));
    for_each_child(
        *this, [&](std::size_t i, faiss::Index& replica) { gone[i] = replica.remove_ids(sel); });
    syncWithSubIndexes();
    return gone.empty() ? 0 : gone.front();
}

void ReplicasIndex::reset() {
    for_each_child(*this, [](std::size_t, faiss::Index& replica) { replica.reset(); });
    syncWithSubIndexes();
}

} // namespace arfc
