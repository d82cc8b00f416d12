#include "calibration.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>

#include "byte_io.h"

namespace arfc {
namespace {

constexpr std::size_t kLevels = Calibration::kAnswers.size();
constexpr std::uint32_t kMostQuestions = 1'000'000;

/// @param sorted  [n], ascending.
/// @returns the ceil((n + 1) share)-th smallest; nothing: n are too few to tell.
template <class T>
std::optional<T> conformal_quantile(std::span<const T> sorted, double share) {
    const double rank = std::ceil(static_cast<double>(sorted.size() + 1) * share);
    if (!(rank <= static_cast<double>(sorted.size()))) {
        return std::nullopt;
    }
    return sorted[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
}

} // namespace

Calibration::Calibration(const std::vector<Question>& questions) : questions_(questions.size()) {
    if (questions.empty()) {
        return;
    }
    for (std::size_t stage = 0; stage < questions.front().margins.size(); ++stage) {
        for (std::size_t level = 0; level < kLevels; ++level) {
            std::vector<float> some;
            for (const Question& question : questions) {
                some.push_back(question.margins[stage][level]);
            }
            std::ranges::sort(some);
            margins_.insert(margins_.end(), some.begin(), some.end());
        }
    }
    for (std::size_t level = 0; level < kLevels && questions.front().lists[0] > 0; ++level) {
        std::vector<std::uint32_t> some;
        for (const Question& question : questions) {
            some.push_back(question.lists[level]);
        }
        std::ranges::sort(some);
        lists_.insert(lists_.end(), some.begin(), some.end());
    }
}

Calibration::Plan Calibration::plan(double confidence, std::size_t k, std::size_t nlist) const {
    const std::size_t stages = questions_ == 0 ? 0 : margins_.size() / kLevels / questions_;
    Plan plan{
        .margins = std::vector<float>(stages, std::numeric_limits<float>::infinity()),
        .nprobe = nlist};
    const auto* const above = std::ranges::lower_bound(kAnswers, k);
    if (questions_ == 0 || above == kAnswers.end()) {
        return plan;
    }
    const auto last = static_cast<std::size_t>(above - kAnswers.begin());
    const std::size_t first = *above == k ? last : last - 1;
    const double cuts = static_cast<double>(stages + (lists_.empty() ? 0 : 1));
    const double share = 1.0 - (1.0 - confidence) / cuts;
    const auto widest = [&](const auto& values, std::size_t from, auto otherwise) {
        auto most = decltype(otherwise){0};
        for (std::size_t level = first; level <= last; ++level) {
            const std::span some =
                std::span(values).subspan((from + level) * questions_, questions_);
            most = std::max(most, conformal_quantile(some, share).value_or(otherwise));
        }
        return most;
    };
    for (std::size_t stage = 0; stage < stages; ++stage) {
        plan.margins[stage] = widest(margins_, stage * kLevels, plan.margins[stage]);
    }
    if (!lists_.empty()) {
        plan.nprobe =
            std::clamp<std::size_t>(widest(lists_, 0, static_cast<std::uint32_t>(nlist)), 1, nlist);
    }
    return plan;
}

void Calibration::write(ByteWriter& out) const {
    out.number(static_cast<std::uint32_t>(questions_));
    out.array(std::span<const float>(margins_));
    out.array(std::span<const std::uint32_t>(lists_));
}

Calibration Calibration::read(ByteReader& in, std::size_t stages, std::size_t nlist) {
    Calibration read;
    const auto questions = in.number<std::uint32_t>();
    in.require(questions <= kMostQuestions, "calibrated by questions ", questions);
    read.questions_ = questions;
    read.margins_ = in.array<float>((stages - 1) * kLevels * questions);
    read.lists_ = in.array<std::uint32_t>(nlist > 1 ? kLevels * questions : 0);
    for (std::size_t first = 0; first < read.margins_.size(); first += questions) {
        const std::span some = std::span(read.margins_).subspan(first, questions);
        in.require(
            std::ranges::is_sorted(some) && some.front() >= 0.0F, "margins that do not ascend");
    }
    for (std::size_t first = 0; first < read.lists_.size(); first += questions) {
        const std::span some = std::span(read.lists_).subspan(first, questions);
        in.require(
            std::ranges::is_sorted(some) && some.front() >= 1 && some.back() <= nlist,
            "calibrated numbers of lists that do not ascend within [1, ", nlist, "]");
    }
    return read;
}

} // namespace arfc
