#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

namespace arfc::test {

/// How long a test of random operations goes on, and where it begins. By itself it plays the same
/// few rounds in every run; ARFC_RANDOM_SECONDS lets it go on with other seeds, and
/// ARFC_RANDOM_SEED begins with the seed that a failure has named.
class RandomRun {
  public:
    /// @param rounds  To play where ARFC_RANDOM_SECONDS is not set.
    explicit RandomRun(std::size_t rounds) : rounds_(rounds) {
        if (const char* const seed = std::getenv("ARFC_RANDOM_SEED")) {
            first_ = std::stoull(seed);
            rounds_ = 1;
        }
        if (const char* const seconds = std::getenv("ARFC_RANDOM_SECONDS")) {
            seconds_ = std::stod(seconds);
        }
    }

    /// Plays rounds, each with a seed of its own, until there is a failure, which then names it.
    template <class Round>
    void play(const Round& round) const {
        const auto start = std::chrono::steady_clock::now();
        const auto goes_on = [&](std::size_t played) {
            const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
            return seconds_ > 0.0 ? passed.count() < seconds_ : played < rounds_;
        };
        for (std::size_t played = 0; goes_on(played) && !::testing::Test::HasFailure(); ++played) {
            round(first_ + played);
            if (::testing::Test::HasFailure()) { // Not a trace: threads have none of their
                                                 // parents'.
                ADD_FAILURE() << "to play that round again: ARFC_RANDOM_SEED=" << first_ + played;
            }
        }
    }

    [[nodiscard]] bool is_long() const noexcept { return seconds_ > 0.0; }
    [[nodiscard]] double seconds() const noexcept { return seconds_; } ///< 0: not set.

  private:
    std::uint64_t first_ = 1;
    std::size_t rounds_;
    double seconds_ = 0.0;
};

/// Draws from a stream that its seed determines.
class Draw {
  public:
    explicit Draw(std::uint64_t seed) : random_(seed) {}

    /// A number in [low, high].
    std::size_t between(std::size_t low, std::size_t high) {
        return low + static_cast<std::size_t>(random_() % (high - low + 1));
    }
    bool one_in(std::size_t times) { return between(1, times) == 1; }

    std::size_t of(std::initializer_list<std::size_t> values) {
        return std::data(values)[between(0, values.size() - 1)];
    }
    template <class T>
    const T& of(const std::vector<T>& values) {
        return values[between(0, values.size() - 1)];
    }

  private:
    std::mt19937_64 random_;
};

} // namespace arfc::test
