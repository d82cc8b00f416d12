#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace arfc {

class ByteReader;
class ByteWriter;

/// How far below the k-th best score of a prefix the rows of the true answer have stood, for
/// questions that were asked when an index was trained: what a confidence is kept by.
///
/// The margin of a question is the least that keeps its whole answer, as every row's longest prefix
/// ranks it, among the rows that a prefix of a stage keeps. A new question from where those came
/// from has a margin of at most the ceil((n + 1) p)-th smallest of n with probability p or more,
/// whatever the distribution: split conformal prediction (Vovk, Gammerman and Shafer, Algorithmic
/// Learning in a Random World, 2005). A search that cuts at several stages, and probes lists,
/// shares what may be missed among them evenly.
class Calibration {
  public:
    /// Answers for which margins are measured. Between two of them the wider margin serves; beyond
    /// the last every row is kept.
    static constexpr std::array<std::size_t, 3> kAnswers = {1, 10, 100};

    /// What one question asks for.
    struct Question {
        Question() = default;
        /// Asks for every row.
        /// @param nlist  1: there are no lists.
        Question(std::size_t stages, std::size_t nlist) : margins(stages - 1) {
            for (auto& of_stage : margins) {
                of_stage.fill(std::numeric_limits<float>::infinity());
            }
            lists.fill(nlist > 1 ? static_cast<std::uint32_t>(nlist) : 0);
        }

        std::vector<std::array<float, kAnswers.size()>> margins; ///< [stages - 1].
        std::array<std::uint32_t, kAnswers.size()> lists = {};   ///< Nearest lists that hold the
                                                                 ///< answer; 0: there are none.
    };

    Calibration() = default;
    explicit Calibration(const std::vector<Question>& questions);

    /// Returns how many questions were asked; 0: nothing is known.
    [[nodiscard]] std::size_t questions() const noexcept { return questions_; }

    /// How a search keeps a confidence.
    struct Plan {
        std::vector<float> margins; ///< [stages - 1]; infinity: keep every row.
        std::size_t nprobe = 1;
    };
    /// @param confidence  In (0, 1). Beyond what so many questions can vouch for nothing is cut.
    [[nodiscard]] Plan plan(double confidence, std::size_t k, std::size_t nlist) const;

    [[nodiscard]] std::size_t bytes() const noexcept {
        return margins_.size() * sizeof(float) + lists_.size() * sizeof(std::uint32_t);
    }

    void write(ByteWriter& out) const;
    /// @param stages  Of the index.
    /// @param nlist   1: there are no lists.
    [[nodiscard]] static Calibration read(ByteReader& in, std::size_t stages, std::size_t nlist);

  private:
    std::size_t questions_ = 0;
    std::vector<float> margins_;       ///< [stages - 1, kAnswers, questions], ascending.
    std::vector<std::uint32_t> lists_; ///< [kAnswers, questions], ascending; empty: no lists.
};

} // namespace arfc
