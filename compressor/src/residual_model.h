#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "arfc/compressor/compressor.h"
#include "feature_map.h"
#include "perceptron.h"

namespace arfc {

/// The learned part of the "residual" kind, and nothing else: what encodes and scores.
///
/// A row x (L2-normalised under cosine) is moved to z = rotation * x - mean. Its first
/// `early_tokens` tokens pick symbols of codebooks over the whole space; each later token picks a
/// symbol for one sub-space (a run of adjacent coordinates of z) of what the tokens before it left.
///
/// What a row decodes to, turned, is decode_map * (mean + early symbols) + late symbols: a sum of
/// the symbols' images, so tables stay additive. Late tokens see what that sum leaves.
///
/// Where pairs taught a map, rows and queries are x + entry(x) (L2-normalised again under cosine)
/// instead of x, and `exit_map` takes what they decode to back to rows.
struct ResidualModel {
    std::size_t dim = 0;
    std::size_t code_bytes = 0;
    Metric metric = Metric::kCosine;
    std::size_t beam_width = 0;             ///< Hypotheses while choosing early tokens.
    std::vector<std::size_t> commit_points; ///< Ascending early-token counts at which one
                                            ///< hypothesis is kept; the last is early_tokens().
    PerceptronWeights entry;                ///< dim numbers out; empty: none.
    std::vector<float> rotation;            ///< [dim, dim], orthonormal rows; empty: the identity.
    std::vector<float> exit_map;            ///< [dim, dim], of turned rows, where there is an
                                            ///< entry; empty: the transposed rotation.
    std::vector<float> mean;                ///< [dim], rotated.
    std::vector<float> early;               ///< [early_tokens, 256, dim].
    std::vector<float> decode_map;          ///< [dim, dim]; empty: the identity.
    std::vector<float> landmarks;           ///< [landmarks, dim], as turned rows; empty: none.
    std::size_t landmarks_asked = 0;        ///< For each row.
    double landmark_error_weight = 0.0;     ///< See Landmarks.
    double norm_shrinkage = 0.0; ///< How far cosines draw the logarithm of a reconstruction's
                                 ///< length to that of a row, which is 1, in [0, 1].
    std::vector<std::size_t> subspace_bounds; ///< Ascending, first 0, last dim: subspace s is
                                              ///< [bounds[s], bounds[s + 1]).
    std::vector<std::size_t> late_subspaces;  ///< Sub-space of each late token.
    std::size_t late_beam_width = 1; ///< Hypotheses while choosing the tokens of a sub-space.
    std::vector<std::size_t> late_commit_points; ///< Ascending counts of a sub-space's tokens at
                                                 ///< which one hypothesis is kept, as it is behind
                                                 ///< its last; empty: at each.
    std::vector<float> late; ///< Codebooks [256, width of the token's sub-space], one after
                             ///< another.
    FeatureWeights features; ///< Of unturned rows, and of turned ones where there is an entry;
                             ///< empty: none were trained.

    [[nodiscard]] std::size_t early_tokens() const noexcept {
        return code_bytes - late_subspaces.size();
    }
    [[nodiscard]] std::size_t late_width(std::size_t token) const noexcept {
        const std::size_t s = late_subspaces[token];
        return subspace_bounds[s + 1] - subspace_bounds[s];
    }
    /// Returns the places among the late tokens of each sub-space's, in runs from one commit point
    /// to the next: [subspaces][runs][tokens].
    [[nodiscard]] std::vector<std::vector<std::vector<std::size_t>>> late_runs() const;
    [[nodiscard]] std::size_t weights_bytes() const noexcept {
        return (entry.size() + rotation.size() + exit_map.size() + mean.size() + early.size() +
                decode_map.size() + landmarks.size() + late.size()) *
                   sizeof(float) +
               features.bytes();
    }

    /// Floating-point operations (multiply and add are two) of encoding a row with the fewest that
    /// the beam needs, and of a query's tables.
    [[nodiscard]] double encode_flop() const noexcept;
    [[nodiscard]] double query_flop() const noexcept;
};

/// Writes config.json and model.safetensors; the report goes into the config but not into the
/// identity. Tensors whose every number is a float16 are stored as that, losing nothing: the
/// identity is that of the numbers, whatever holds them.
[[nodiscard]] ModelFiles write_residual_model(
    const ResidualModel& model, const TrainReport& report);

/// A model read back, with what was written beside it.
struct StoredResidualModel {
    ResidualModel model;
    TrainReport report;
    std::string id;
};

/// @throws Error  kCorruption: a field is missing, has the wrong type, or contradicts another.
[[nodiscard]] StoredResidualModel read_residual_model(const ModelFiles& files);

} // namespace arfc
