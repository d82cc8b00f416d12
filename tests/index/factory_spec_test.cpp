#include "factory_spec.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "expect_error.h"

namespace arfc {
namespace {

using Sizes = std::vector<std::size_t>;

TEST(FactorySpec, ReadsWhatTheGrammarSays) {
    const struct {
        std::size_t dim;
        std::string text;
        IdMap id_map;
        Sizes stages;
        std::size_t nlist;
        std::string canonical;
    } cases[] = {
        {384, "ARFC96", IdMap::kNone, {96}, 0, "ARFC96"},
        {384, "ARFC96/16", IdMap::kNone, {16, 96}, 0, "ARFC96/16"},
        {384, "ARFC96/32/8", IdMap::kNone, {8, 32, 96}, 0, "ARFC96/32/8"},
        {384, "ARFC96/16,IVF256", IdMap::kNone, {16, 96}, 256, "ARFC96/16,IVF256"},
        {384, "ARFC96_R", IdMap::kNone, {96}, 0, "ARFC96_R"},
        {384, "ARFCx16/16_R,IVF8", IdMap::kNone, {16, 96}, 8, "ARFC96/16_R,IVF8"},
        {384, "ARFC96,IVF1", IdMap::kNone, {96}, 1, "ARFC96,IVF1"},
        {384, "IDMap2,ARFC96/16,IVF256", IdMap::kIdMap2, {16, 96}, 256, "IDMap2,ARFC96/16,IVF256"},
        {384, "IDMap,ARFC8", IdMap::kIdMap, {8}, 0, "IDMap,ARFC8"},
        {384, "IDMap2,ARFC96/16,HNSW32", IdMap::kIdMap2, {16, 96}, 0, "IDMap2,ARFC96/16,HNSW32"},
        {384, "ARFC96/8,NSG64", IdMap::kNone, {8, 96}, 0, "ARFC96/8,NSG64"},
        {384, "ARFC96,HNSW002", IdMap::kNone, {96}, 0, "ARFC96,HNSW2"},
        {384, "ARFCx16", IdMap::kNone, {96}, 0, "ARFC96"},
        {384, "ARFCx16/x64,PQ16x4fs", IdMap::kNone, {24, 96}, 0, "ARFC96/24,PQ16x4fs"},
        {384, "ARFC96/16,IVF64(PQ8),SQ8", IdMap::kNone, {16, 96}, 0, "ARFC96/16,IVF64(PQ8),SQ8"},
        {384, "IDMap,ARFC96/16,HNSW8_PQ8", IdMap::kIdMap, {16, 96}, 0, "IDMap,ARFC96/16,HNSW8_PQ8"},
        {384, "ARFC96/16,NSG32,Flat", IdMap::kNone, {16, 96}, 0, "ARFC96/16,NSG32,Flat"},
        {384, "ARFCx16/x64", IdMap::kNone, {24, 96}, 0, "ARFC96/24"},
        {384, "ARFC96/x64,IVF4", IdMap::kNone, {24, 96}, 4, "ARFC96/24,IVF4"},
        {100, "ARFCx7", IdMap::kNone, {57}, 0, "ARFC57"}, // Rounded down to whole tokens.
        {1, "ARFCx4", IdMap::kNone, {1}, 0, "ARFC1"},
        {65536, "ARFC1024/1", IdMap::kNone, {1, 1024}, 0, "ARFC1024/1"},
    };
    for (const auto& c : cases) {
        const FactorySpec spec = parse_factory(c.dim, c.text);
        EXPECT_EQ(spec.id_map, c.id_map) << c.text;
        EXPECT_EQ(spec.stage_bytes, c.stages) << c.text;
        EXPECT_EQ(spec.nlist, c.nlist) << c.text;
        EXPECT_EQ(spec.error_radii, c.text.find("_R") != std::string::npos) << c.text;
        EXPECT_EQ(to_string(spec), c.canonical);
        EXPECT_EQ(to_string(parse_factory(c.dim, c.canonical)), c.canonical);
    }
}

TEST(FactorySpec, RefusesBadStringsWithTheColumn) {
    const struct {
        std::string text;
        std::string message;
    } cases[] = {
        {"", "wrong at column 1, expected ARFC<size>"},
        {"arfc96", "wrong at column 1, expected ARFC<size>"},
        {"ARFC", "wrong at column 5, expected a size such as 96 (bytes) or x16 (ratio): \"ARFC\""},
        {"ARFCx", "wrong at column 5, expected a size"},
        {"ARFC0", "wrong at column 5, expected a size"},
        {"ARFC-1", "wrong at column 5, expected a size"},
        {"ARFC 96", "wrong at column 5, expected a size"},
        {"ARFC1025", "wrong at column 5, expected a code of 1 to 1024 bytes, found 1025"},
        {"ARFCx1", "wrong at column 5, expected a code of 1 to 1024 bytes, found 1536"},
        {"ARFCx99999", "wrong at column 5, expected a code of 1 to 1024 bytes, found 0"},
        {"ARFC99999999999999999999999", "wrong at column 5, expected a size"},
        {"ARFC96/", "wrong at column 8, expected a size"},
        {"ARFC96/96",
         "wrong at column 8, expected a prefix shorter than the 96 bytes before it, found 96"},
        {"ARFC96/16/32",
         "wrong at column 11, expected a prefix shorter than the 16 bytes before it, found 32"},
        {"ARFC96/0", "wrong at column 8, expected a size"},
        {"ARFC96_Q", "wrong at column 7, expected the end"},
        {"ARFC96_R_R", "wrong at column 9, expected the end"},
        {"ARFC96_R/16", "wrong at column 9, expected the end"},
        {"ARFC96x", "wrong at column 7, expected the end"},
        {"ARFC96,", "wrong at column 8, expected IVF<n>"},
        {"ARFC96,IVF", "wrong at column 11, expected a number of lists"},
        {"ARFC96,IVF0", "wrong at column 11, expected a number of lists"},
        {"ARFC96,IVF99999999", "wrong at column 11, expected a number of lists in [1, 16777216]"},
        {"ARFC96,IVF4x", "wrong at column 12, expected the end"},
        {"ARFC96,IVF4,", "wrong at column 8, expected IVF<n>, HNSW<m>, NSG<m>, or a FAISS string"},
        {"ARFC96,IVF4,IVF4", "wrong at column 8, expected IVF<n>, HNSW<m>, NSG<m>, or a FAISS"},
        {"ARFC96,IVF256_HNSW32", "wrong at column 8, expected IVF<n>, HNSW<m>, NSG<m>, or"},
        {"ARFC96,HNSW", "wrong at column 8, expected HNSW<m> with m in [2, 256]"},
        {"ARFC96,HNSW1", "wrong at column 8, expected HNSW<m>"},
        {"ARFC96,NSG", "wrong at column 8, expected NSG<m> with m in [4, 256]"},
        {"ARFC96,NSG0", "wrong at column 8, expected NSG<m>"},
        {"ARFC96,NSGx", "wrong at column 8, expected NSG<m>"},
        {"ARFC96,NSG257", "wrong at column 8, expected NSG<m>"},
        {"ARFC96,NSG3", "wrong at column 8, expected NSG<m> with m in [4, 256]"},
        {"ARFC96,NSG32,PQ5", "wrong at column 8, expected IVF<n>"},
        {"ARFC96,HNSW257", "wrong at column 8, expected HNSW<m>"},
        {"ARFC96,HNSW-8", "wrong at column 8, expected HNSW<m>"},
        {"ARFC96,HNSW99999999999999999999", "wrong at column 8, expected HNSW<m>"},
        {"ARFC96,HNSW32,", "wrong at column 8, expected IVF<n>"},
        {"ARFC96,HNSW32,IVF4", "wrong at column 8, expected IVF<n>"},
        {"ARFC96,ARFC8", "wrong at column 8, expected IVF<n>"},
        {"ARFC96,Flat,IDMap", "wrong at column 8, expected IVF<n>"},
        {"ARFC96,PQ7", "wrong at column 8, expected IVF<n>"},
        {"HNSW32,ARFC96", "wrong at column 1, expected ARFC first"},
        {"ARFC96,Nonsense", "wrong at column 8, expected IVF<n>"},
        {"IDMap2,", "wrong at column 8, expected ARFC<size>"},
        {"IDMap2ARFC96", "wrong at column 1, expected ARFC<size>"},
        {"IVF256,ARFC96", "wrong at column 1, expected ARFC first"},
        {"IDMap2,IVF256,ARFC96", "wrong at column 8, expected ARFC first"},
    };
    for (const auto& c : cases) {
        ARFC_EXPECT_ERROR((void)parse_factory(384, c.text), ErrorKind::kInvalidArgument, c.message);
    }
    ARFC_EXPECT_ERROR(
        (void)parse_factory(0, "ARFC8"), ErrorKind::kInvalidArgument,
        "width is outside [1, 65536]: 0");
    ARFC_EXPECT_ERROR((void)parse_factory(65537, "ARFC8"), ErrorKind::kInvalidArgument, "65537");
}

TEST(FactorySpec, SaysWhatIndexesHaveAndCollectionsHaveNot) {
    for (const std::string text : {"PCA64,ARFC32", "OPQ16,ARFC32", "IDMap2,PCAR64,ARFC32,IVF4"}) {
        ARFC_EXPECT_ERROR(
            (void)parse_factory(384, text), ErrorKind::kUnsupported, "in indexes only");
        ARFC_EXPECT_ERROR((void)parse_factory(384, text), ErrorKind::kUnsupported, text);
    }
    ARFC_EXPECT_ERROR(
        (void)parse_factory(384, "IDMap2,PCAR64,L2norm,ARFC32"), ErrorKind::kUnsupported,
        "alone: \"PCAR64,L2norm\" in \"IDMap2,PCAR64,L2norm,ARFC32\"");
}

TEST(FactorySpec, KnowsWhoseStringItIs) {
    for (const std::string text : {"ARFC96", "IDMap2,ARFC96/16", "PCA64,ARFC16", "ARFC"}) {
        EXPECT_TRUE(names_arfc(text)) << text;
    }
    for (const std::string text : {"", "Flat", "IVF256,PQ16", "IDMap2,Flat", "XARFC96"}) {
        EXPECT_FALSE(names_arfc(text)) << text;
    }
}

} // namespace
} // namespace arfc
