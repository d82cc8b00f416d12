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
