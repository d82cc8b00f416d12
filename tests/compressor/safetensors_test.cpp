#include "safetensors.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>

#include "expect_error.h"

namespace arfc {
namespace {

std::map<std::string, StoredTensor> sample() {
    return {{"b", {{2, 3}, {1, 2, 3, 4, 5, 6}}}, {"a", {{0}, {}}}, {"c", {{1}, {-0.5F}}}};
}

/// A file of a short header and four bytes of data.
std::string file_of(const std::string& header) {
    std::string length(8, '\0');
    length[0] = static_cast<char>(header.size());
    return length + header + "abcd";
}

TEST(SafetensorsTest, RoundTrips) {
    const std::string bytes = write_safetensors(sample());
    const auto back = read_safetensors(bytes);
    ASSERT_EQ(back.size(), 3U);
    EXPECT_EQ(back.at("b").values, sample().at("b").values);
    EXPECT_EQ(back.at("b").shape, (std::vector<std::size_t>{2, 3}));
    EXPECT_TRUE(back.at("a").values.empty());
    EXPECT_EQ(write_safetensors(back), bytes);
}

TEST(SafetensorsTest, EveryTruncationIsRefused) {
    const std::string bytes = write_safetensors(sample());
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        ARFC_EXPECT_ERROR(
            (void)read_safetensors(std::string_view(bytes).substr(0, length)),
            ErrorKind::kCorruption, "safetensors");
    }
    ARFC_EXPECT_ERROR(
        (void)read_safetensors(bytes + "x"), ErrorKind::kCorruption, "bytes that no tensor names");
}

TEST(SafetensorsTest, RandomDamageNeverCrashes) {
    const std::string bytes = write_safetensors(sample());
    std::mt19937 random(7);
    int refused = 0;
    for (int round = 0; round < 5000; ++round) {
        std::string damaged = bytes;
        for (std::uint32_t flips = 1 + random() % 4; flips > 0; --flips) {
            damaged[random() % damaged.size()] = static_cast<char>(random());
        }
        try {
            (void)read_safetensors(damaged);
        } catch (const Error& error) {
            EXPECT_TRUE(
                error.kind() == ErrorKind::kCorruption || error.kind() == ErrorKind::kUnsupported)
                << error.what();
            ++refused;
        }
    }
    EXPECT_GT(refused, 2500); // Damage to the header; damage to a value is the checksum's to find.
}

TEST(SafetensorsTest, HugeShapesAllocateNothing) {
    const std::string header =
        R"({"x":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}})";
    ARFC_EXPECT_ERROR(
        (void)read_safetensors(file_of(header)), ErrorKind::kCorruption, "shape exceeds");
}

TEST(SafetensorsTest, HalvesTakeHalfTheRoomAndComeBack) {
    auto tensors = sample();
    const std::string floats = write_safetensors(tensors);
    tensors.at("b").as_half = true;
    tensors.at("b").values = {1, -2, 0.333251953125F, 65504, 5.9604644775390625e-08F, -0.0F};
    const std::string halves = write_safetensors(tensors);
    EXPECT_EQ(floats.size() - halves.size(), 12U);
    const auto back = read_safetensors(halves);
    EXPECT_TRUE(back.at("b").as_half);
    EXPECT_FALSE(back.at("c").as_half);
    EXPECT_EQ(back.at("b").values, tensors.at("b").values);
    EXPECT_TRUE(std::signbit(back.at("b").values[5]));
    EXPECT_EQ(back.at("c").values, tensors.at("c").values); // What lies behind it.
    EXPECT_EQ(write_safetensors(back), halves);
    for (std::size_t length = 0; length < halves.size(); ++length) {
        ARFC_EXPECT_ERROR(
            (void)read_safetensors(std::string_view(halves).substr(0, length)),
            ErrorKind::kCorruption, "safetensors");
    }
}

TEST(SafetensorsTest, AHalfsShapeMustFitItsBytes) {
    const std::string header = R"({"x":{"dtype":"F16","shape":[1],"data_offsets":[0,4]}})";
    ARFC_EXPECT_ERROR(
        (void)read_safetensors(file_of(header)), ErrorKind::kCorruption,
        "shape and offsets differ");
}

TEST(SafetensorsTest, ValuesAreAlignedInAFile) {
    for (const char* name : {"a", "bc", "def", "ghij", "klmno", "pqrstu", "vwxyz12", "34567890"}) {
        const std::string bytes = write_safetensors({{name, {{1}, {0.5F}}}});
        EXPECT_EQ((bytes.size() - sizeof(float)) % 8, 0U) << name;
        EXPECT_LT(bytes.size(), 8U + 56 + 8 + 8 + sizeof(float)) << name;
    }
}

TEST(SafetensorsTest, MetadataIsNoTensor) {
    const auto tensors = read_safetensors(file_of(
        R"({"__metadata__":{"by":"me"},"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})"));
    EXPECT_EQ(tensors.size(), 1U);
    EXPECT_EQ(tensors.at("x").shape, std::vector<std::size_t>{1});
}

TEST(SafetensorsTest, EntriesThatContradictTheFileAreRefused) {
    const auto refuses = [](const std::string& header, const std::string& text) {
        ARFC_EXPECT_ERROR(
            (void)read_safetensors(file_of(header)), ErrorKind::kCorruption,
            "not a valid safetensors file: " + text);
    };
    const std::string lacks = "an entry lacks dtype, shape or data_offsets";
    refuses(R"({"x":{"shape":[1],"data_offsets":[0,4]}})", lacks);
    refuses(R"({"x":{"dtype":"F32","data_offsets":[0,4]}})", lacks);
    refuses(R"({"x":{"dtype":"F32","shape":[1]}})", lacks);
    refuses(R"({"x":[1]})", lacks);
    const std::string outside = "an entry's offsets lie outside the file";
    refuses(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})", outside);
    refuses(R"({"x":{"dtype":"F32","shape":[0],"data_offsets":[4,0]}})", outside);
    refuses(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", outside);
    refuses(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", outside);
    refuses(R"({"x":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", outside);
    EXPECT_EQ(
        read_safetensors(
            file_of(R"({"x":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})"))
            .size(),
        1U);
    refuses(
        R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})",
        "a tensor's shape exceeds the file");
    refuses(
        R"({"x":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})",
        "it holds bytes that no tensor names");
    refuses(
        R"({"x":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", "its header is not the JSON");
    refuses("{", "its header is not the JSON");
    ARFC_EXPECT_ERROR(
        (void)read_safetensors("1234567"), ErrorKind::kCorruption,
        "it is shorter than its length field");
    std::string longer = file_of("{}");
    longer[0] = 7; // Of six bytes behind it.
    ARFC_EXPECT_ERROR(
        (void)read_safetensors(longer), ErrorKind::kCorruption,
        "its header is longer than the file");
    std::string large((std::size_t{1} << 20U) + 9, ' ');
    const std::uint64_t length = large.size() - 8;
    std::memcpy(large.data(), &length, sizeof length);
    ARFC_EXPECT_ERROR(
        (void)read_safetensors(large), ErrorKind::kCorruption,
        "its header is longer than the file");
}

TEST(SafetensorsTest, OtherTypesAreUnsupported) {
    const std::string header = R"({"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}})";
    ARFC_EXPECT_ERROR(
        (void)read_safetensors(file_of(header)), ErrorKind::kUnsupported,
        "neither float32 nor float16: x");
}

} // namespace
} // namespace arfc
