#include "threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "thread_count.h"
#include "tiles.h"

namespace arfc {
namespace {

class ThreadsTest : public ::testing::Test {
    test::ThreadCount threads_{3};
};

TEST_F(ThreadsTest, EveryPieceOfWorkIsDoneOnce) {
    for (const std::size_t count : {0, 1, 2, 3, 100}) {
        std::vector<std::atomic<int>> done(count);
        std::atomic<int> most{0};
        parallel_for(count, kWorthAThread, [&](std::size_t i) {
            ++done[i];
            int team = omp_get_num_threads();
            for (int seen = most; seen < team && !most.compare_exchange_weak(seen, team);) {
            }
        });
        for (const std::atomic<int>& times : done) {
            EXPECT_EQ(times, 1) << count;
        }
        EXPECT_LE(most, static_cast<int>(std::min<std::size_t>(3, count)));
    }
}

TEST_F(ThreadsTest, SmallWorkAndWorkInsideOfWorkStayOnTheirThread) {
    const std::thread::id caller = std::this_thread::get_id();
    parallel_for(
        50, kWorthAThread / 2, [&](std::size_t) { EXPECT_EQ(std::this_thread::get_id(), caller); });
    parallel_for(6, 1e12, [&](std::size_t) {
        const std::thread::id outer = std::this_thread::get_id();
        parallel_for(5, 1e12, [&](std::size_t) { EXPECT_EQ(std::this_thread::get_id(), outer); });
    });
}

TEST_F(ThreadsTest, AnExceptionIsTheCallersAndTheRestIsDone) {
    for (const double operations : {1.0, 1e12}) {
        std::atomic<int> done{0};
        EXPECT_THROW(
            parallel_for(
                20, operations,
                [&](std::size_t i) {
                    ++done;
                    if (i == 4) {
                        throw std::runtime_error("four");
                    }
                }),
            std::runtime_error);
        EXPECT_EQ(done, 20);
    }
}

/// LibTorch asks OpenMP.
TEST_F(ThreadsTest, ACountOfThreadsIsOpenMpsToo) {
    EXPECT_EQ(num_threads(), 3U);
    EXPECT_EQ(omp_get_max_threads(), 3);
    set_num_threads(2);
    EXPECT_EQ(omp_get_max_threads(), 2);
}

/// Whether a thread more is worth its while hangs on what all rows take together.
TEST_F(ThreadsTest, TilesOfMuchWorkAreDivided) {
    constexpr std::size_t kRows = 1000;
    const auto team = [](double flop) {
        std::atomic<int> seen{0};
        for_each_tile(kRows, flop, [&](std::size_t first, std::size_t count) {
            EXPECT_EQ(first % kTileRows, 0U);
            EXPECT_EQ(count, std::min(kTileRows, kRows - first));
            seen = omp_get_num_threads();
        });
        return seen.load();
    };
    EXPECT_EQ(team(0.9 * kWorthAThread / kRows), 1);
    EXPECT_EQ(team(1.1 * kWorthAThread / kRows), 3);
    const std::vector<float> rows(2 * kTileRows * 110, 1.0F);
    const auto search_team = [&](std::size_t cols) { // Of two tiles, and 2 * 256 a number.
        std::atomic<int> seen{0};
        for_each_tile({rows.data(), 2 * kTileRows, cols}, [&](std::size_t, auto, const float*) {
            seen = omp_get_num_threads();
        });
        return seen.load();
    };
    EXPECT_EQ(search_team(100), 1); // 9.8 million.
    EXPECT_EQ(search_team(104), 2); // 10.2 million.
}

TEST_F(ThreadsTest, TilesCoverEverythingOnce) {
    for (const std::size_t count : {0U, 1U, 95U, 96U, 97U, 200U}) {
        std::vector<std::atomic<int>> done(count);
        for_each_by_tiles(count, 1e12, [&](std::size_t i) { ++done[i]; });
        const std::vector<float> rows(count * 2, 1.0F);
        for_each_tile({rows.data(), count, 2}, [&](std::size_t first, auto tile, float* scratch) {
            EXPECT_LE(tile.rows(), kTileRows);
            scratch[BeamSearch::scratch_size(tile.rows()) - 1] = 0.0F;
            for (std::size_t i = 0; i < tile.rows(); ++i) {
                EXPECT_EQ(tile.row(i).data(), rows.data() + (first + i) * 2);
                done[first + i] += 2;
            }
        });
        for (const std::atomic<int>& times : done) {
            EXPECT_EQ(times, 3) << count;
        }
    }
}

} // namespace
} // namespace arfc
