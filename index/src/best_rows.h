#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace arfc {

/// A row on its way through the stages of a search.
struct Candidate {
    float score = 0; ///< By the last stage it went through; never NaN.
    float sum = 0;   ///< Of look-ups, so far.
    std::uint32_t row = 0;
    std::uint32_t tokens = 0;        ///< Tokens in the sum.
    const std::byte* head = nullptr; ///< [head_bytes], in the index.
};

/// Orders by score, larger first, then by row, smaller first: a total order, so that answers do not
/// depend on the order in which rows are met.
[[nodiscard]] inline bool is_better(const Candidate& a, const Candidate& b) noexcept {
    return a.score != b.score ? a.score > b.score : a.row < b.row;
}

/// Gives scores that are no number (infinities that cancel out) the last place.
[[nodiscard]] inline float orderable(float score) noexcept {
    return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
}

/// Keeps the best `limit` of the rows pushed into it.
class BestRows {
  public:
    /// @param copies  How often a row may be pushed, with the same score each time.
    explicit BestRows(std::size_t limit, std::size_t copies = 1)
        : limit_(limit), kept_(limit * copies) {}

    /// Says whether a candidate of this score can still be among the best: a cheap test before
    /// push().
    [[nodiscard]] bool may_admit(float score) const noexcept { return score >= least_; }

    /// Returns the least score that may_admit() takes.
    [[nodiscard]] float least() const noexcept { return least_; }

    void push(const Candidate& candidate) {
        candidates_.push_back(candidate);
        if (candidates_.size() >= 2 * kept_ + kSlack) {
            prune();
            least_ = candidates_.back().score;
        }
    }

    /// Returns the best, best first.
    [[nodiscard]] std::vector<Candidate> take() && {
        prune();
        std::sort(candidates_.begin(), candidates_.end(), is_better);
        const auto is_same = [](const Candidate& a, const Candidate& b) { return a.row == b.row; };
        candidates_.erase(
            std::unique(candidates_.begin(), candidates_.end(), is_same), candidates_.end());
        candidates_.resize(std::min(candidates_.size(), limit_));
        return std::move(candidates_);
    }

  private:
    static constexpr std::size_t kSlack = 64; // So that few candidates do not prune at every push.

    /// Drops all but the best; the last of them is then the worst.
    void prune() {
        if (candidates_.size() > kept_ && kept_ > 0) {
            const auto last = candidates_.begin() + static_cast<std::ptrdiff_t>(kept_ - 1);
            std::nth_element(candidates_.begin(), last, candidates_.end(), is_better);
            candidates_.resize(kept_);
        }
    }

    std::size_t limit_;
    std::size_t kept_;
    float least_ = -std::numeric_limits<float>::infinity();
    std::vector<Candidate> candidates_;
};

} // namespace arfc
