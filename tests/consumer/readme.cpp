// What the C++ lines of the README stand between: includes.inc and lines.inc are cut out of it.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <random>
#include <vector>

#include "includes.inc"

int main() {
    constexpr std::int64_t n = 300;
    constexpr std::int64_t m = 5;
    constexpr std::int64_t k = 3;
    constexpr std::int64_t kFirstId = 100;
    std::vector<float> values(n * 384);
    std::mt19937 generator(1);
    for (float& value : values)
        value = std::normal_distribution<float>()(generator);
    std::vector<std::int64_t> numbers(n);
    for (std::int64_t row = 0; row < n; ++row)
        numbers[row] = kFirstId + row;
    std::vector<float> found_distances(m * k);
    std::vector<std::int64_t> found(m * k);
    const float* rows = values.data();
    const float* queries = rows; // The first rows themselves.
    const std::int64_t* ids = numbers.data();
    float* distances = found_distances.data();
    std::int64_t* labels = found.data();
    try {
#include "lines.inc"
    } catch (const std::exception& error) {
        std::fprintf(stderr, "readme: %s\n", error.what());
        return 1;
    }
    for (std::int64_t query = 0; query < m; ++query) {
        std::printf("%lld\n", static_cast<long long>(labels[query * k]));
    }
    return 0;
}
