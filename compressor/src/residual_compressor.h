#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "arfc/base/packed_matrix.h"
#include "arfc/compressor/compressor.h"
#include "beam_search.h"
#include "feature_map.h"
#include "residual_model.h"

namespace arfc {

/// Encodes, decodes and scores with a ResidualModel, on the CPU.
class ResidualCompressor final : public Compressor {
  public:
    ResidualCompressor(ResidualModel model, TrainReport report);
    explicit ResidualCompressor(StoredResidualModel stored);

    [[nodiscard]] std::size_t dim() const noexcept override { return model_.dim; }
    [[nodiscard]] std::size_t code_bytes() const noexcept override { return model_.code_bytes; }
    [[nodiscard]] Metric metric() const noexcept override { return model_.metric; }
    [[nodiscard]] const TrainReport& report() const noexcept override { return report_; }
    [[nodiscard]] ModelFiles files() const override {
        return write_residual_model(model_, report_);
    }
    [[nodiscard]] const std::string& id() const noexcept override { return id_; }
    [[nodiscard]] std::size_t model_bytes() const noexcept override {
        return model_.weights_bytes();
    }

    void encode(
        MatrixView<const float> embeddings, std::size_t num_bytes,
        MatrixView<std::byte> codes) const override;
    void decode(MatrixView<const std::byte> codes, MatrixView<float> embeddings) const override;
    void query_tables(
        MatrixView<const float> queries, std::size_t first_token,
        MatrixView<float> tables) const override;
    void query_terms(MatrixView<const float> queries, std::span<QueryTerms> terms) const override;
    void row_terms(MatrixView<const std::byte> codes, std::span<float> terms) const override;
    [[nodiscard]] double reconstruction_length(float row_term) const noexcept override;
    [[nodiscard]] double sum_error(std::size_t num_bytes, double length) const noexcept override;
    void score(
        MatrixView<const float> queries, MatrixView<const std::byte> codes, bool neural,
        MatrixView<float> scores) const override;
    [[nodiscard]] bool has_features() const noexcept override { return !model_.features.empty(); }
    void features(MatrixView<const float> embeddings, MatrixView<float> features) const override;

  private:
    struct LateToken {
        std::size_t first; ///< First coordinate of its sub-space.
        std::size_t width;
        const float* codebook; ///< [256, width], in model_.late.
        PackedMatrix packed;
    };
    /// What encoding needs beyond scoring: tables between codebooks, built when something is first
    /// encoded.
    struct Encoder;
    const Encoder& encoder() const;

    void prepare();
    void decode_early_symbols();
    void sum_lengths();
    /// Multiplies each row of `rows` [n, dim] by a packed [dim, dim] matrix. @param out  [n, dim].
    void multiply(const PackedMatrix& matrix, MatrixView<const float> rows, float* out) const;
    [[nodiscard]] const float* decoded_symbol(
        std::size_t token, std::size_t symbol) const noexcept {
        return decoded_early_.data() + (token * kSymbols + symbol) * model_.dim;
    }
    void check_rows(MatrixView<const float> rows, std::string_view what) const;
    void check_codes(MatrixView<const std::byte> codes) const;
    /// Normalises (under cosine), maps as pairs taught, and rotates rows; does not centre.
    /// @param out  [rows, dim].
    void turn(MatrixView<const float> rows, float* out) const;
    /// The same for any number of rows, on several threads.
    void turn_all(MatrixView<const float> rows, float* out) const;
    void encode_tile(
        const Encoder& by, MatrixView<const float> rows, MatrixView<std::byte> codes) const;
    void encode_late(
        const Encoder& by, MatrixView<float> residual, const BeamSearch::State& state,
        MatrixView<std::byte> codes, float* scratch) const;
    void encode_subspace(
        const Encoder& by, std::size_t subspace, MatrixView<const float> residual,
        MatrixView<std::byte> codes, float* scratch) const;
    /// Sums mean and symbols. @param z  [dim].
    void reconstruct(std::span<const std::byte> code, float* z) const;
    /// The same for each of a tile's codes. @param z  [codes, dim].
    void reconstruct_all(MatrixView<const std::byte> codes, float* z) const;
    void score_by_tables(
        MatrixView<const float> queries, MatrixView<const std::byte> codes,
        MatrixView<float> scores) const;
    void score_by_rows(
        MatrixView<const float> queries, MatrixView<const std::byte> codes,
        MatrixView<float> scores) const;
    /// Returns QueryTerms::squared_norm. @param turned  [dim]: the query, turned.
    [[nodiscard]] float squared_norm(std::span<const float> query, const float* turned) const;
    /// Returns a row term. @param squared  |reconstruction|^2.
    [[nodiscard]] float row_term(float squared) const;

    ResidualModel model_;
    TrainReport report_;
    std::string id_;
    Perceptron entry_;
    PackedMatrix rotation_;            ///< Rows: the new axes.
    PackedMatrix inverse_rotation_;    ///< Or the exit map.
    std::vector<float> decoded_mean_;  ///< [dim], and
    std::vector<float> decoded_early_; ///< [early tokens, 256, dim]: what those decode to.
    std::vector<PackedMatrix> early_;  ///< Of decoded_early_.
    std::vector<LateToken> late_;
    double rotation_norm_ = 0.0;         ///< Frobenius's.
    std::vector<double> summed_lengths_; ///< [code_bytes + 1]: of the mean and of the longest
                                         ///< symbol of each token before.
    FeatureMap features_;                ///< Of model_.features, where those are.
    struct LazyEncoder;
    std::shared_ptr<LazyEncoder> encoder_;
};

/// Returns what a model's early tokens are chosen with: what symbols decode to, judged by
/// landmarks, where there are landmarks, else the symbols themselves.
/// @param decoded_mean   [dim]: what the model's mean, and
/// @param decoded_early  [early tokens, 256, dim]: its early symbols decode to.
[[nodiscard]] BeamSearch early_search(
    const ResidualModel& model, const std::vector<float>& decoded_mean,
    const std::vector<float>& decoded_early);

std::unique_ptr<Compressor> open_residual(const ModelFiles& files, std::string_view device);

/// Answers whether a device name can be used by kinds that run on the CPU alone.
/// @throws Error  kUnsupported: "cuda...". kInvalidArgument: no device name at all.
void require_cpu(std::string_view device);

/// Checks that every value is finite and, under cosine, that no row is zero.
/// @throws Error  kInvalidArgument: names the first such row.
void require_usable_rows(MatrixView<const float> rows, Metric metric, std::string_view what);

} // namespace arfc
