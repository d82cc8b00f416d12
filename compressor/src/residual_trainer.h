#pragma once

#include <memory>

#include "arfc/compressor/compressor.h"

namespace arfc {

/// Trains the "residual" kind: Compressor::train for it.
///
/// 0. Pairs, where there are any, teach a map, and rows are mapped (learn_pairs()).
/// 1. Rows are centred and turned to their principal axes.
/// 2. Early codebooks, one after another: k-means on what a beam of hypotheses leaves, begun in the
///    leading principal axes and widened to all of them. What is left is enlarged half of the way
///    to what held-out rows are left with.
/// 3. They are tuned to keep the order of neighbours, where held-out recall gains (relate()).
/// 4. Rows are encoded as they will be; a rotation then spreads what is left over sub-spaces.
/// 5. Late codebooks: each goes to the sub-space where it removes most error, and learns from rows
///    as they are and as long as held-out ones (SubspaceTrainer).
/// 6. Recall is measured on rows that took no part.
///
/// Source: progressive-dimension clustering and beam training as in FAISS's residual quantizer
/// (Douze et al., arXiv:2401.08281); eigenvalue allocation as in OPQ (Ge et al., CVPR 2013).
/// docs/sources.md lists departures.
std::unique_ptr<Compressor> train_residual(
    MatrixView<const float> embeddings, const TrainOptions& options);

} // namespace arfc
