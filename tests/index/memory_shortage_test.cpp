#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "memory_tails.h"
#include "staged_index.h"
#include "table_compressor.h"

namespace {

constexpr std::size_t kEnough = std::numeric_limits<std::size_t>::max();

/// Allocations that this thread is granted before memory runs out.
thread_local std::size_t granted = kEnough;

} // namespace

// Every allocation of this program, so that any of them can be the one that fails. Not inlined,
// lest GCC takes free() for the wrong partner of new.
[[gnu::noinline]] void* operator new(std::size_t size) {
    if (granted == 0) {
        throw std::bad_alloc();
    }
    granted -= granted == kEnough ? 0 : 1;
    void* const memory = std::malloc(size == 0 ? 1 : size);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

// Of the C++ library's own, sanitizers would give memory that the delete below may not take.
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
    try {
        return ::operator new(size);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

[[gnu::noinline]] void operator delete(void* memory) noexcept {
    std::free(memory);
}

[[gnu::noinline]] void operator delete(void* memory, std::size_t /*size*/) noexcept {
    std::free(memory);
}

namespace arfc {
namespace {

using test::Codes;
using test::TableCompressor;

TEST(MemoryShortage, LeavesAnIndexAsItWasWhereRowsAreAdded) {
    constexpr std::size_t kFirst = 20;
    constexpr std::size_t kCount = 400;
    const auto model = std::make_shared<const TableCompressor>(
        Metric::kL2, 2, std::vector<test::TokenMeaning>{{0, 1.0F}, {1, 1.0F}});
    Codes codes(2);
    for (std::size_t i = 0; i < kCount; ++i) {
        codes.add({i * 7 % 20, i / 20});
    }
    const std::vector<float> query = {9.0F, 11.0F};
    for (const StagedShape& shape : std::vector<StagedShape>{
             {.stage_bytes = {1, 2}, .nlist = 4},
             {.stage_bytes = {2}, .nlist = 4},
             {.stage_bytes = {1, 2}}}) {
        const std::size_t head = shape.stage_bytes.front();
        const std::vector<std::byte> heads = codes.heads(head);
        const auto add = [&](StagedIndex& index, std::size_t first, std::size_t count) {
            const std::vector<float> terms = index.rank_terms(codes.view().slice(first, count));
            const std::size_t later = shape.stage_bytes.size() - 1; // Terms of a row.
            index.add(
                {heads.data() + first * head, count, head},
                {terms.data(), later == 0 ? 0 : count, later});
        };
        StagedIndex expected(model, shape);
        expected.train(codes.view(), {}, {.lists_per_row = 1});
        const std::string training = expected.save();
        add(expected, 0, kFirst);
        const std::string before = expected.save();
        add(expected, kFirst, kCount - kFirst);
        const std::string after = expected.save();
        const MemoryTails tails(codes.bytes.data() + head, 2, 2 - head);
        const std::vector<float> scores =
            expected.search({query.data(), 1, 2}, {.k = 50}, &tails).scores;
        std::size_t failures = 0;
        for (bool has_failed = true; has_failed; ++failures) {
            StagedIndex index(model, shape);
            (void)index.restore(training);
            add(index, 0, kFirst);
            granted = failures;
            try {
                add(index, kFirst, kCount - kFirst);
                has_failed = false;
            } catch (const std::bad_alloc&) {
                has_failed = true;
            }
            granted = kEnough;
            if (has_failed) {
                ASSERT_EQ(index.rows(), kFirst) << failures << " allocations";
                ASSERT_EQ(index.save(), before) << failures << " allocations";
                add(index, kFirst, kCount - kFirst);
            }
            ASSERT_EQ(index.save(), after) << failures << " allocations";
            ASSERT_EQ(index.search({query.data(), 1, 2}, {.k = 50}, &tails).scores, scores);
        }
        EXPECT_GT(failures, 10U);
    }
}

} // namespace
} // namespace arfc
