#include "refinement.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace arfc {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool is_better_row(const MetRow& a, const MetRow& b) noexcept {
    return is_better(a.candidate, b.candidate);
}

} // namespace

void Refinement::keep(const Candidate& candidate) {
    if (best_.size() == k_) {
        if (!is_better(candidate, best_.front())) {
            return;
        }
        std::pop_heap(best_.begin(), best_.end(), is_better);
        best_.back() = candidate;
    } else {
        best_.push_back(candidate);
    }
    std::push_heap(best_.begin(), best_.end(), is_better);
}

/// Returns the score below which no row can be among the best.
float Refinement::threshold() const noexcept {
    return best_.size() < k_ ? -kInfinity : best_.front().score;
}

RefinedAnswer Refinement::answer(Certainty certainty) {
    std::sort(best_.begin(), best_.end(), is_better);
    return {std::move(best_), certainty};
}

std::size_t Refinement::read(std::size_t stage, std::span<MetRow*> rows) {
    const std::size_t width = stage_bytes_[stage] - stage_bytes_.front();
    std::size_t done = 0;
    while (done < rows.size()) {
        std::size_t count = std::min(rows.size() - done, PrefixReader::kMostRows);
        if (budget_ && width > 0) {
            count = std::min(count, *budget_ / width);
        }
        if (count == 0) {
            return done;
        }
        const std::span<MetRow*> some = rows.subspan(done, count);
        // Rows in order, as a store reads them best.
        std::ranges::sort(some, {}, [](const MetRow* row) { return row->candidate.row; });
        std::array<Candidate, PrefixReader::kMostRows> candidates;
        std::ranges::transform(
            some, candidates.begin(), [](const MetRow* row) { return row->candidate; });
        const std::size_t bytes = reader_.read(stage, std::span(candidates).first(count));
        if (budget_) {
            *budget_ -= std::min(*budget_, bytes);
        }
        for (std::size_t i = 0; i < count; ++i) {
            some[i]->candidate = candidates[i];
            some[i]->stage = static_cast<std::uint32_t>(stage);
        }
        done += count;
    }
    return done;
}

/// Ranks whole the rows that are best by their heads: what the k-th best score is measured by.
void Refinement::rank_first(std::vector<MetRow>& rows, std::size_t count) {
    count = std::min(std::max(count, k_), rows.size());
    std::partial_sort(
        rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(count), rows.end(), is_better_row);
    std::vector<MetRow*> first;
    for (std::size_t i = 0; i < count; ++i) {
        first.push_back(&rows[i]);
    }
    const std::size_t last = stage_bytes_.size() - 1;
    const std::size_t done = last == 0 ? first.size() : read(last, first);
    for (std::size_t i = 0; i < done; ++i) {
        keep(first[i]->candidate);
    }
}

/// Sets the distance of a row that was read beyond its head.
void Refinement::measure(MetRow& row, const ScoreBounds& bounds) const {
    const Candidate& candidate = row.candidate;
    if (row.stage > 0) {
        const Bounds length = bounds.length(reader_.term(row.stage, candidate.row));
        row.set_distance(bounds.distance(row.stage, candidate.sum, length));
    }
}

/// Sets the bound of a row that is not ranked yet.
void Refinement::bound(MetRow& row, const ScoreBounds& bounds) const {
    const Candidate& candidate = row.candidate;
    const float term = reader_.term(stage_bytes_.size() - 1, candidate.row);
    double most = bounds.score_by_extremes(row.stage, candidate.sum, term);
    const double radius = reader_.radius(row.stage, candidate.row);
    if (std::isfinite(radius)) {
        measure(row, bounds);
        most = std::min(most, bounds.score_at(bounds.around(row.distance(), radius), term));
    }
    row.bound = std::nextafter(static_cast<float>(most), kInfinity);
}

/// Ranks whole every row whose bound reaches the k-th best score. @returns false where the budget
/// ran out.
bool Refinement::rank_all_within_reach(std::vector<MetRow>& rows, const ScoreBounds& bounds) {
    const auto is_later = [](const MetRow* a, const MetRow* b) {
        return a->bound != b->bound ? a->bound < b->bound : a->candidate.row > b->candidate.row;
    };
    std::vector<MetRow*> heap;
    for (MetRow& row : rows) {
        if (!is_ranked(row)) {
            bound(row, bounds);
            if (row.bound >= threshold()) {
                heap.push_back(&row);
            }
        }
    }
    std::make_heap(heap.begin(), heap.end(), is_later);
    std::vector<MetRow*> some;
    while (!heap.empty() && heap.front()->bound >= threshold()) {
        const std::uint32_t stage = heap.front()->stage;
        some.clear();
        while (!heap.empty() && some.size() < PrefixReader::kMostRows &&
               heap.front()->stage == stage && heap.front()->bound >= threshold()) {
            some.push_back(heap.front());
            std::pop_heap(heap.begin(), heap.end(), is_later);
            heap.pop_back();
        }
        const std::size_t done = read(stage + 1, some);
        for (MetRow* const row : std::span(some).first(done)) {
            if (is_ranked(*row)) {
                keep(row->candidate);
            } else {
                bound(*row, bounds);
                heap.push_back(row);
                std::push_heap(heap.begin(), heap.end(), is_later);
            }
        }
        if (done < some.size()) {
            return false;
        }
    }
    return true;
}

/// Returns how far a row's original may be from the query; anything, where that is not known.
Bounds Refinement::distance_of_original(const MetRow& row, const ScoreBounds& bounds) const {
    const std::size_t last = stage_bytes_.size() - 1;
    const double to_code = row.stage == last ? 0.0 : reader_.radius(row.stage, row.candidate.row);
    const double to_original = reader_.radius(last, row.candidate.row);
    if (ends_before(row) || !std::isfinite(to_code) || !std::isfinite(to_original)) {
        return {-std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
    }
    return bounds.around(bounds.around(row.distance(), to_code), to_original);
}

/// Compares every other row's least distance with the largest of the answer's; reads more of rows
/// that are not far enough by what is known of them, while no row that is known whole forbids the
/// proof.
bool Refinement::prove_by_originals(std::vector<MetRow>& rows, const ScoreBounds& bounds) {
    if (rows.size() == best_.size()) { // There is no other row.
        return true;
    }
    std::vector<std::uint32_t> chosen;
    for (const Candidate& candidate : best_) {
        chosen.push_back(candidate.row);
    }
    std::ranges::sort(chosen);
    double farthest = -std::numeric_limits<double>::infinity();
    std::vector<MetRow*> others;
    for (MetRow& row : rows) {
        if (is_ranked(row)) {
            measure(row, bounds);
        }
        if (std::ranges::binary_search(chosen, row.candidate.row)) {
            farthest = std::max(farthest, distance_of_original(row, bounds).most);
        } else {
            others.push_back(&row);
        }
    }
    const auto is_too_near = [&](const MetRow* row) {
        return !(distance_of_original(*row, bounds).least > farthest);
    };
    std::erase_if(others, [&](const MetRow* row) { return !is_too_near(row); });
    while (!others.empty()) {
        if (std::ranges::any_of(others, [&](const MetRow* row) { return is_ranked(*row); })) {
            return false;
        }
        const auto first =
            std::ranges::min(others, {}, [](const MetRow* row) { return row->stage; })->stage;
        const auto rest =
            std::ranges::partition(others, [&](const MetRow* row) { return row->stage == first; });
        const std::span<MetRow*> some(others.begin(), rest.begin());
        if (read(first + 1, some) < some.size()) {
            return false;
        }
        for (MetRow* const row : some) {
            measure(*row, bounds);
        }
        std::erase_if(others, [&](const MetRow* row) { return !is_too_near(row); });
    }
    return true;
}

RefinedAnswer Refinement::until_certain(
    std::vector<MetRow> rows, std::size_t first_ranked, const ScoreBounds& bounds, bool is_whole) {
    rank_first(rows, first_ranked);
    if (!rank_all_within_reach(rows, bounds) || !is_whole) {
        return answer(Certainty::kNone);
    }
    return answer(prove_by_originals(rows, bounds) ? Certainty::kOriginals : Certainty::kCodes);
}

RefinedAnswer Refinement::until_confident(
    std::vector<MetRow> rows, std::span<const float> margins, bool is_whole, bool is_all) {
    bool is_in_budget = true;
    for (std::size_t stage = 1; stage < stage_bytes_.size(); ++stage) {
        if (rows.size() > k_) {
            const auto worst = rows.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
            std::nth_element(rows.begin(), worst, rows.end(), is_better_row);
            const float least = worst->candidate.score - margins[stage - 1];
            is_all =
                std::erase_if(
                    rows, [&](const MetRow& row) { return row.candidate.score < least; }) == 0 &&
                is_all;
        }
        std::sort(rows.begin(), rows.end(), is_better_row); // So that a budget goes to the best.
        std::vector<MetRow*> all;
        for (MetRow& row : rows) {
            all.push_back(&row);
        }
        const std::size_t done = read(stage, all);
        is_in_budget = is_in_budget && done == rows.size();
        std::erase_if(rows, [&](const MetRow& row) { return row.stage < stage; });
    }
    for (const MetRow& row : rows) {
        keep(row.candidate);
    }
    return answer(
        !is_in_budget || !is_whole ? Certainty::kNone
        : is_all                   ? Certainty::kCodes
                                   : Certainty::kConfident);
}

} // namespace arfc
