#include "residual_trainer.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <string_view>

#include "arfc/base/error.h"
#include "arfc/base/half.h"
#include "beam_search.h"
#include "feature_trainer.h"
#include "kernels.h"
#include "kmeans.h"
#include "landmark_trainer.h"
#include "learning_tensors.h"
#include "pair_trainer.h"
#include "relation_trainer.h"
#include "residual_compressor.h"
#include "residual_measure.h"
#include "smooth_bootstrap.h"
#include "subspace_trainer.h"
#include "threads.h"
#include "tiles.h"
#include "training_checkpoint.h"
#include "training_supervisor.h"

namespace arfc {
namespace {

constexpr std::size_t kMaxCodeBytes = 1024;
constexpr std::size_t kMaxDim = 65536;
// Tokens over the whole space; later ones are over dim / 8 coordinates. Few rows can fill no more
// than 16; many rows have 16 more of them.
constexpr std::size_t kFirstTokens = 16;
constexpr std::size_t kMostEarlyTokens = 32;
constexpr std::size_t kManyRows = 32768; // 128 a symbol.
// Of fewer rows, others that they make likely are drawn: in all so many times as many. Differences
// between rows near to each other are taken so long.
constexpr std::size_t kLikelyRows = 3;
constexpr float kLikelyScale = 0.7F;
constexpr std::size_t kSubspaces = 8;
constexpr std::size_t kTrainBeam = 5;   // FAISS's own choice; wider gains under .002 recall.
constexpr std::size_t kEncodeBeam = 16; // 8 loses .001 to .004 from 8 to 32 bytes, gains .003 at 4.
constexpr std::size_t kLateBeam = 5;    // In each sub-space.
// Tokens after which one hypothesis is kept for the first time, the second time being at their end:
// of 40,000 images 32 bytes gain .006 by not keeping one at 16 and 24, where as much as nothing is
// lost.
constexpr std::size_t kFirstCommit = 8;
// Rows that a code knows less well are shorter in it. Scores by the angle alone rank them too high,
// expected products too low; relations are learned with the angle, which is the better for them.
constexpr double kNormShrinkage = 0.1;
// Landmarks: one for so many rows, up to so many, found among the first rows. 1,024 instead of
// 2,048 lose .002 at 8 bytes of clinc150; 16 asked instead of 8 lose .002 from 12 bytes on; a
// weight of .1 loses .008 at 24 bytes of sift10k, of .2 .005 at 8 and 16 bytes of clinc150.
constexpr std::size_t kRowsPerLandmark = 5;
constexpr std::size_t kMostLandmarks = 2048;
constexpr std::size_t kLeastLandmarks = 256; // Of few queries as many as there are.
constexpr std::size_t kLandmarkRows = 32768;
constexpr std::size_t kLandmarksAsked = 8;
constexpr double kLandmarkErrorWeight = 0.15;
constexpr std::size_t kLateCommitEvery = 4; // In a sub-space.
// Largest weights that are rounded to float16: its numbers are evenly spread below 2^-14, by 2^-24,
// so down to here rounding moves a weight by less than 2^-15 of the largest one.
constexpr float kLeastHalved = 0x1p-10F;
constexpr float kMostHalved = 65504.0F;
// An eigendecomposition of 4096 x 4096 takes about a minute.
constexpr std::size_t kMaxRotatedDim = 4096;
constexpr std::size_t kMaxAxesPerTokenDim = 1024;
// Above this width tokens beyond the first ones are clustered without coordinates that hold next to
// nothing: images' in half of the time. In the first ones it costs npl .026 to .041 at 8 and 16
// bytes.
constexpr std::size_t kNarrow = 128;
constexpr std::size_t kEarlyIterations = 10;   // At each width.
constexpr double kClusteringShare = 0.8;       // Of a codebook's time; its symbols are chosen in
                                               // the rest.
constexpr std::size_t kLateIterations = 6;     // 15 of them gain under .002 recall.
constexpr std::size_t kMinHeldOutTotal = 1000; // Below this many rows none is spared for measuring.
constexpr std::size_t kMaxHeldOut = 1000;
constexpr std::size_t kQueriesPerHeldOut = 5; // They may be few, and measure alone.
constexpr std::size_t kMaxTrainRows = kMaxTrainingRows - kMaxHeldOut;
constexpr std::size_t kMaxRecallBase = 20000;
constexpr double kPairShare = 0.20;     // Of the time budget: pairs, where there are any,
constexpr double kEarlyShare = 0.58;    // whole-space codebooks,
constexpr double kRelationShare = 0.86; // relations between what they say,
constexpr double kLateShare = 0.93;     // and late codebooks.
constexpr double kFeatureShare = 0.50;  // Of it for features, where they are asked for, and what
constexpr double kFeatureEnd = 0.95;    // codebooks leave of theirs, up to here.

/// Checks the width of what is given beside the rows. @param what  "Pairs"
void check_width(std::string_view what, std::size_t width, std::size_t dim) {
    if (width != dim) {
        fail(
            ErrorKind::kInvalidArgument, what, " differ in width from the training matrix: ", width,
            ", expected ", dim);
    }
    if (dim > kMaxRotatedDim) {
        fail(
            ErrorKind::kUnsupported, what, " teach rows of at most ", kMaxRotatedDim,
            " floats; of this width train without: ", dim);
    }
}

void check_pairs(std::size_t dim, const TrainOptions& options) {
    const MatrixView<const float> queries = options.pair_queries;
    const MatrixView<const float> rows = options.pair_rows;
    if (queries.rows() != rows.rows()) {
        fail(
            ErrorKind::kInvalidArgument,
            "Pairs differ in number, queries and relevant rows: ", queries.rows(), ", ",
            rows.rows());
    }
    if (queries.empty()) {
        return;
    }
    check_width("Pairs", queries.cols(), dim);
    check_width("Pairs", rows.cols(), dim);
    require_usable_rows(queries, options.metric, "Matrix of the pairs' queries");
    require_usable_rows(rows, options.metric, "Matrix of the pairs' relevant rows");
}

void check_queries(std::size_t dim, const TrainOptions& options) {
    const MatrixView<const float> queries = options.queries;
    if (queries.empty()) {
        return;
    }
    if (!options.relations) {
        fail(
            ErrorKind::kInvalidArgument,
            "Queries serve relations, which are left out; leave out these, too, number: ",
            queries.rows());
    }
    check_width("Queries", queries.cols(), dim);
    if (queries.rows() < kMinTrainingQueries) {
        fail(
            ErrorKind::kInvalidArgument,
            "Queries are too few to learn from and to measure with: ", queries.rows(),
            ", at least ", kMinTrainingQueries);
    }
    require_usable_rows(queries, options.metric, "Matrix of queries");
}

void check_schedule(const PrefixSchedule& schedule) {
    for (const double mean : {schedule.first_mean, schedule.last_mean}) {
        if (!(mean > 0.0 && mean < 1.0)) {
            fail(
                ErrorKind::kInvalidArgument,
                "Mean of the prefixes' lengths is outside (0, 1): ", mean);
        }
    }
    if (!(schedule.concentration > 0.0 && std::isfinite(schedule.concentration))) {
        fail(
            ErrorKind::kInvalidArgument,
            "Concentration of the prefixes' lengths is not a positive number: ",
            schedule.concentration);
    }
}

void check_options(MatrixView<const float> embeddings, const TrainOptions& options) {
    if (embeddings.rows() < 1) {
        fail(ErrorKind::kInvalidArgument, "Training needs at least one row: ", embeddings.rows());
    }
    if (embeddings.cols() < 1 || embeddings.cols() > kMaxDim) {
        fail(
            ErrorKind::kInvalidArgument, "Embedding width is outside [1, ", kMaxDim,
            "]: ", embeddings.cols());
    }
    if (options.code_bytes < 1 || options.code_bytes > kMaxCodeBytes) {
        fail(
            ErrorKind::kInvalidArgument, "Code length is outside [1, ", kMaxCodeBytes,
            "] bytes: ", options.code_bytes);
    }
    if (options.time_budget_s && !(*options.time_budget_s > 0.0)) {
        fail(
            ErrorKind::kInvalidArgument,
            "Time budget is not a positive number of seconds: ", *options.time_budget_s);
    }
    check_schedule(options.prefix_schedule);
    if (options.features && embeddings.cols() > kMaxFeatureDim) {
        fail(
            ErrorKind::kUnsupported, "Features are learned of rows up to ", kMaxFeatureDim,
            " floats wide: ", embeddings.cols());
    }
    require_cpu(options.device);
    require_usable_rows(embeddings, options.metric, "Training matrix");
    check_queries(embeddings.cols(), options);
    check_pairs(embeddings.cols(), options);
}

/// Rows that train and rows that measure, as indices into the caller's matrix.
struct Split {
    std::vector<std::size_t> train;
    std::vector<std::size_t> held_out;
};

/// Returns how many rows the budget can bear, from the FLOP of the least training there is.
std::size_t affordable_rows(std::size_t dim, const TrainOptions& options) {
    if (!options.time_budget_s) {
        return kMaxTrainRows;
    }
    // Two passes a token over five hypotheses' residuals at a careful 10 GFLOP/s a thread, in a
    // third of the time that codebooks have.
    const double seconds = *options.time_budget_s * (options.features ? 1.0 - kFeatureShare : 1.0);
    const double rate = 1e10 * static_cast<double>(num_threads());
    const double flop_per_row = static_cast<double>(kFirstTokens) * 2.0 * (kTrainBeam + 1) * 2.0 *
                                kSymbols * static_cast<double>(dim);
    const double rows = seconds / 3.0 * rate / flop_per_row;
    return static_cast<std::size_t>(std::clamp(rows, 4096.0, static_cast<double>(kMaxTrainRows)));
}

/// Draws rows that measure, and others that train.
Split drawn_split(
    std::size_t rows, std::size_t held_out, std::size_t most_trained, std::mt19937_64& random) {
    std::vector<std::size_t> order(rows);
    std::iota(order.begin(), order.end(), std::size_t{0});
    const std::size_t chosen = std::min(rows, most_trained + held_out);
    for (std::size_t i = 0; i < chosen; ++i) {
        std::swap(order[i], order[i + random() % (rows - i)]);
    }
    Split split;
    split.held_out.assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(held_out));
    split.train.assign(
        order.begin() + static_cast<std::ptrdiff_t>(held_out),
        order.begin() + static_cast<std::ptrdiff_t>(chosen));
    return split;
}

Split split_rows(std::size_t rows, std::size_t most, std::mt19937_64& random) {
    const std::size_t held_out = rows < kMinHeldOutTotal ? 0 : std::min(kMaxHeldOut, rows / 20);
    return drawn_split(rows, held_out, most, random);
}

Split split_queries(std::size_t queries, std::uint64_t seed) {
    std::mt19937_64 random(seed); // Rows are drawn as without queries.
    return drawn_split(
        queries, std::min(kMaxHeldOut, queries / kQueriesPerHeldOut), kMaxTrainingQueries, random);
}

/// Copies rows, L2-normalised under cosine.
std::vector<float> gather(
    MatrixView<const float> rows, std::span<const std::size_t> indices, Metric metric) {
    const std::size_t d = rows.cols();
    std::vector<float> out(indices.size() * d);
    parallel_for(indices.size(), product_flop(indices.size(), d), [&](std::size_t i) {
        const std::span<const float> row = rows.row(indices[i]);
        double sum = 0.0;
        for (const float value : row) {
            sum += static_cast<double>(value) * static_cast<double>(value);
        }
        const double factor = metric == Metric::kCosine ? 1.0 / std::sqrt(sum) : 1.0;
        for (std::size_t j = 0; j < d; ++j) {
            out[i * d + j] = static_cast<float>(static_cast<double>(row[j]) * factor);
        }
    });
    return out;
}

/// Divides rows by their lengths, as a model does behind what pairs taught.
void normalise_rows(std::vector<float>& rows, std::size_t dim) {
    for (std::size_t first = 0; first < rows.size(); first += dim) {
        double squared = 0.0;
        for (std::size_t j = 0; j < dim; ++j) {
            squared += static_cast<double>(rows[first + j]) * static_cast<double>(rows[first + j]);
        }
        // Rows of zeros stay so; the square of the smallest float is above that.
        squared = std::max(squared, std::numeric_limits<double>::min());
        const double factor = 1.0 / std::sqrt(squared);
        for (std::size_t j = 0; j < dim; ++j) {
            rows[first + j] = static_cast<float>(static_cast<double>(rows[first + j]) * factor);
        }
    }
}

class Trainer {
  public:
    Trainer(MatrixView<const float> embeddings, const TrainOptions& options)
        : options_(options), supervisor_(options), checkpoint_(embeddings, options, supervisor_),
          random_(options.seed), embeddings_(embeddings) {}

    /// Learns. Ending early, by the caller's wish or an error, leaves a checkpoint where one is
    /// kept.
    std::unique_ptr<Compressor> run() {
        // LibTorch has a count of threads for each thread that calls it.
        torch::set_num_threads(static_cast<int>(num_threads()));
        try {
            return learn();
        } catch (...) {
            try {
                checkpoint_.write();
            } catch (const std::exception&) { // The first error is the one to tell.
            }
            throw;
        }
    }

  private:
    std::unique_ptr<Compressor> learn() {
        set_up();
        train_early();
        tune_relations();
        encode_early();
        spread_residual();
        train_late();
        find_way_back();
        train_features();
        return finish();
    }
    /// Returns how many rows shape codebooks: those given, and behind them those drawn.
    [[nodiscard]] std::size_t rows() const noexcept { return z_.size() / dim(); }
    [[nodiscard]] std::size_t given_rows() const noexcept { return split_.train.size(); }
    [[nodiscard]] std::size_t dim() const noexcept { return model_.dim; }
    [[nodiscard]] MatrixView<const float> z() const noexcept { return as_rows(z_); }
    [[nodiscard]] std::size_t held_out() const noexcept { return split_.held_out.size(); }
    [[nodiscard]] MatrixView<const float> held_out_rows() const noexcept {
        return as_rows(held_out_);
    }
    [[nodiscard]] MatrixView<const float> as_rows(const std::vector<float>& values) const noexcept {
        return {values.data(), values.size() / dim(), dim()};
    }

    void set_up() {
        supervisor_.begin("preparing rows", 0, options_.code_bytes);
        supervisor_.reserve(options_.features ? kFeatureShare : 0.0);
        model_.dim = embeddings_.cols();
        model_.code_bytes = options_.code_bytes;
        model_.metric = options_.metric;
        model_.beam_width = kEncodeBeam;
        model_.norm_shrinkage = options_.metric == Metric::kCosine ? kNormShrinkage : 0.0;
        const std::size_t most = checkpoint_.most_rows(affordable_rows(dim(), options_));
        split_ = split_rows(embeddings_.rows(), most, random_);
        const bool few = given_rows() < kManyRows || options_.compact;
        early_ = std::min(few ? kFirstTokens : kMostEarlyTokens, options_.code_bytes);
        z_ = gather(embeddings_, split_.train, options_.metric);
        held_out_ = gather(embeddings_, split_.held_out, options_.metric);
        checkpoint_.expect_rows(z_, held_out_);
        if (!options_.queries.empty()) {
            query_split_ = split_queries(options_.queries.rows(), options_.seed);
            queries_ = gather(options_.queries, query_split_.train, options_.metric);
            asking_ = gather(options_.queries, query_split_.held_out, options_.metric);
        }
        learn_from_pairs();
        draw_likely_rows(most);
        std::vector<double> mean(dim(), 0.0);
        for (std::size_t i = 0; i < rows(); ++i) {
            for (std::size_t j = 0; j < dim(); ++j) {
                mean[j] += static_cast<double>(z_[i * dim() + j]);
            }
        }
        for (const double value : mean) {
            model_.mean.push_back(static_cast<float>(value / static_cast<double>(rows())));
        }
        for (std::size_t i = 0; i < rows(); ++i) {
            kernels().subtract(z_.data() + i * dim(), model_.mean.data(), dim());
        }
        energy_ = energy(z_);
        clustered_rows_ = rows();
        for (std::size_t i = 0; i < held_out(); ++i) {
            kernels().subtract(held_out_.data() + i * dim(), model_.mean.data(), dim());
        }
        held_out_energy_ = energy(held_out_);
        if (dim() <= kMaxRotatedDim && dim() > 1) {
            rotate(learned_axes("axes"));
        }
    }

    /// Maps all rows as the pairs teach, where they gain.
    void learn_from_pairs() {
        if (options_.pair_queries.empty()) {
            return;
        }
        supervisor_.begin("pairs", 0, options_.code_bytes);
        supervisor_.set_deadline(kPairShare);
        const std::vector<std::size_t> drawn =
            drawn_pairs(options_.pair_queries.rows(), options_.seed);
        const std::vector<float> queries = gather(options_.pair_queries, drawn, options_.metric);
        const std::vector<float> relevant = gather(options_.pair_rows, drawn, options_.metric);
        const std::string step = "pairs";
        const PairTask task{
            .queries = {queries.data(), drawn.size(), dim()},
            .relevant = {relevant.data(), drawn.size(), dim()},
            .rows = z(),
            .metric = options_.metric,
            .seed = options_.seed,
            .go_on = [this] { return supervisor_.go_on(); },
            .spent = [this] { return supervisor_.spent(); },
            .begun = checkpoint_.unfinished(step),
            .keep = [&](const auto& state) { checkpoint_.offer(step, state); }};
        PairMap learned = pair_map_from(
            checkpoint_.learned(step, [&] { return to_state(learn_pairs(task)); }), task);
        pairs_ = learned.report;
        model_.entry = std::move(learned.entry);
        if (model_.entry.empty()) {
            return;
        }
        const std::vector<float> given = z_;
        for (std::vector<float>* const some : {&z_, &held_out_, &queries_, &asking_}) {
            map_rows(*some);
        }
        moments_ = map_moments({given.data(), rows(), dim()}, z());
    }
    /// Maps rows as encode() will: as pairs taught.
    void map_rows(std::vector<float>& rows) const {
        const Perceptron entry(model_.entry);
        const MatrixView<const float> all(rows.data(), rows.size() / dim(), dim());
        for_each_tile(all.rows(), entry.flop(dim()), [&](std::size_t first, std::size_t count) {
            entry.add(all.slice(first, count), dim(), rows.data() + first * dim(), dim());
        });
        if (options_.metric == Metric::kCosine) {
            normalise_rows(rows, dim());
        }
    }

    /// Adds rows that the given ones make likely, where those are too few to fill codebooks.
    void draw_likely_rows(std::size_t most) {
        const std::size_t limit = std::min({kLikelyRows * given_rows(), kManyRows - 1, most});
        if (limit <= given_rows()) {
            return;
        }
        const std::vector<float> drawn = smooth_bootstrap(
            z(), limit - given_rows(), kLikelyScale, options_.seed,
            [this] { supervisor_.report(); });
        const std::size_t count = drawn.size() / dim();
        std::vector<std::size_t> all(count);
        std::iota(all.begin(), all.end(), std::size_t{0});
        const std::vector<float> likely =
            gather({drawn.data(), count, dim()}, all, options_.metric);
        z_.insert(z_.end(), likely.begin(), likely.end());
    }

    /// Returns the principal axes of what z_ holds.
    std::vector<float> learned_axes(const std::string& step) {
        return checkpoint_.learned(step, dim() * dim(), [this] { return principal_axes(z()); });
    }

    /// Turns everything learned so far, and the rows, to new axes.
    void rotate(const std::vector<float>& axes) {
        turn_in_place(z_, axes);
        turn_in_place(held_out_, axes);
        turn_in_place(queries_, axes);
        turn_in_place(asking_, axes);
        turn_in_place(model_.mean, axes);
        turn_in_place(model_.early, axes);
        turn_in_place(model_.landmarks, axes);
        if (!model_.decode_map.empty()) { // axes * decode_map * axes^T
            turn_in_place(model_.decode_map, axes);
            turn_columns(model_.decode_map, axes);
        }
        if (model_.rotation.empty()) {
            model_.rotation = axes;
        } else {
            turn_columns(model_.rotation, axes);
        }
    }
    /// matrix = axes * matrix.
    void turn_columns(std::vector<float>& matrix, const std::vector<float>& axes) const {
        std::vector<float> transposed(dim() * dim());
        transpose(matrix, transposed);
        turn_in_place(transposed, axes);
        transpose(transposed, matrix);
    }
    void transpose(const std::vector<float>& from, std::vector<float>& to) const {
        for (std::size_t i = 0; i < dim(); ++i) {
            for (std::size_t j = 0; j < dim(); ++j) {
                to[j * dim() + i] = from[i * dim() + j];
            }
        }
    }
    void turn_in_place(std::vector<float>& points, const std::vector<float>& axes) const {
        std::vector<float> out(points.size());
        turn_points({points.data(), points.size() / dim(), dim()}, axes, out.data());
        points = std::move(out);
    }
    [[nodiscard]] double energy(const std::vector<float>& points) const {
        std::vector<double> sums(64, 0.0);
        const std::size_t n = points.size() / dim();
        const std::size_t run = (n + sums.size() - 1) / sums.size();
        parallel_for(sums.size(), product_flop(n, dim()), [&](std::size_t r) {
            for (std::size_t i = r * run; i < std::min(n, (r + 1) * run); ++i) {
                const float* const row = points.data() + i * dim();
                sums[r] += static_cast<double>(kernels().dot(row, row, dim()));
            }
        });
        return std::accumulate(sums.begin(), sums.end(), 0.0);
    }

    /// Learns the whole-space codebooks.
    void train_early() {
        BeamSearch search(dim());
        BeamSearch::State state = BeamSearch::start(rows(), std::min(kTrainBeam, rows()), early_);
        BeamSearch::State held_out_state = BeamSearch::start(held_out(), kTrainBeam, early_);
        for (std::size_t t = 0; t < early_; ++t) {
            supervisor_.begin("whole-space codebook", t, options_.code_bytes);
            supervisor_.set_deadline(
                kEarlyShare * static_cast<double>(t + 1) / static_cast<double>(early_));
            // Half of the way, as rows that trained are searched too: the whole of it loses at 8
            // bytes of clinc150 what it gains on sift10k and npl.
            const double enlarged = std::sqrt(shortfall(state, held_out_state));
            const std::vector<float> codebook = checkpoint_.learned(
                "whole-space " + std::to_string(t), kSymbols * dim(),
                [&] { return cluster(residuals(state, static_cast<float>(enlarged)), t); });
            model_.early.insert(model_.early.end(), codebook.begin(), codebook.end());
            search.add_codebook({early_symbol(t, 0), kSymbols, dim()});
            step(search, state);
            for_each_tile(held_out_rows(), [&](std::size_t first, auto tile, float* scratch) {
                search.step(tile, first, held_out_state, scratch);
            });
            BeamSearch::advance(held_out_state);
        }
        set_commit_points();
    }

    /// Sets those of the whole-space tokens: after the eighth, and at their end. Fewer than nine
    /// commit to nothing on the way: their last ones gain more than their first ones lose.
    void set_commit_points() {
        model_.commit_points = {std::min(early_, kFirstCommit)};
        if (early_ > kFirstCommit) {
            model_.commit_points.push_back(early_);
        }
    }

    /// How many times as long what is left of a held-out row is as what is left of a row that
    /// trained, at least 1. Centroids follow the rows that they were averaged from, the more so the
    /// fewer there are: with 5,000 rows of 128 floats, 16 tokens leave .037 of the energy of rows
    /// that trained and .11 of others', so later codebooks would be too short for them.
    [[nodiscard]] double shortfall(
        const BeamSearch::State& state, const BeamSearch::State& held_out_state) const {
        if (held_out() == 0 || state.tokens == 0) {
            return 1.0;
        }
        return length_ratio(
            held_out_state.left(held_out_energy_) / static_cast<double>(held_out()),
            state.left(energy_) / static_cast<double>(rows()));
    }

    /// Moves early codebooks so that rows keep their order of neighbours, and has hypotheses judged
    /// by landmarks, if held-out rows gain.
    void tune_relations() {
        if (!options_.relations || split_.held_out.empty() || dim() > kMaxRotatedDim) {
            return;
        }
        supervisor_.begin("relations", early_, options_.code_bytes, /*even=*/false);
        supervisor_.set_deadline(kRelationShare);
        const std::string step = "relations";
        RelationTask task{// Those drawn have their nearest neighbours in the rows that they
                          // were drawn from.
                          .rows = z().slice(0, given_rows()),
                          .held_out = held_out_rows(),
                          .queries = as_rows(queries_),
                          .asking = as_rows(asking_),
                          .mean = model_.mean,
                          .codebooks = model_.early,
                          .metric = options_.metric,
                          .beam_width = model_.beam_width,
                          .commit_points = model_.commit_points,
                          .schedule = options_.prefix_schedule,
                          .seed = options_.seed,
                          .go_on = [this] { return supervisor_.go_on(); },
                          .spent = [this] { return supervisor_.spent(); },
                          .keep = [&](const auto& state) { checkpoint_.offer(step, state); }};
        const bool is_measured = can_relate(task);
        if (is_measured) {
            parts_.push_back({"codebooks", true, held_out_recall(task)});
            choose_landmarks(task);
        }
        task.begun = checkpoint_.unfinished(step); // Behind the landmarks, which come first.
        std::optional<RelatedCodebooks> related =
            related_from(checkpoint_.learned(step, [&] { return to_state(relate(task)); }), task);
        if (is_measured) {
            parts_.push_back({"relations", related.has_value(), {}});
            if (related) {
                parts_.back().recall = held_out_recall(task, &*related);
            }
        }
        if (!related) {
            return;
        }
        for (std::vector<float>* const points : {&z_, &held_out_}) { // Centred by the new mean.
            for (std::size_t first = 0; first < points->size(); first += dim()) {
                kernels().add(points->data() + first, model_.mean.data(), dim());
                kernels().subtract(points->data() + first, related->mean.data(), dim());
            }
        }
        energy_ = energy(z_);
        model_.mean = std::move(related->mean);
        model_.early = std::move(related->codebooks);
        model_.decode_map = std::move(related->decode_map);
    }

    /// Gives the task, and the model, landmarks where they gain over the codebooks alone, which are
    /// measured: centres of the rows, or of queries where those gain more.
    void choose_landmarks(RelationTask& task) {
        std::vector<float> rows(z_.data(), z_.data() + landmark_rows(given_rows()) * dim());
        for (std::size_t first = 0; first < rows.size(); first += dim()) {
            kernels().add(rows.data() + first, model_.mean.data(), dim());
        }
        try_landmarks(task, "landmarks", std::move(rows));
        if (!queries_.empty()) {
            const std::size_t used = landmark_rows(queries_.size() / dim());
            try_landmarks(
                task, "landmarks of queries", {queries_.data(), queries_.data() + used * dim()});
        }
    }
    [[nodiscard]] static std::size_t landmark_rows(std::size_t count) noexcept {
        return std::min(count, kLandmarkRows);
    }
    /// Keeps the centres of points where they gain over what was kept before.
    /// @param points  [n, dim], turned, not centred.
    void try_landmarks(RelationTask& task, const std::string& step, std::vector<float> points) {
        const std::size_t given = points.size() / dim();
        const std::size_t count = std::min(
            kMostLandmarks, std::max(given / kRowsPerLandmark, std::min(given, kLeastLandmarks)));
        const LearningState learned = checkpoint_.learned(step, [&] {
            LearningState state;
            state.arrays["points"] = {
                {count, dim()}, landmark_points(as_rows(points), count, options_.metric)};
            return state;
        });
        points = values_of(tensor_of(
            learned, "points",
            {static_cast<std::int64_t>(count), static_cast<std::int64_t>(dim())}));
        RelationTask tried = task;
        tried.landmarks = as_rows(points);
        tried.landmark_options = landmark_options();
        std::vector<HeldOutRecall> judged = held_out_recall(tried);
        const auto best =
            std::ranges::find(parts_.rbegin(), parts_.rend(), true, &PartReport::is_kept);
        const bool gains = mean_recall(judged) > mean_recall(best->recall);
        parts_.push_back({step, gains, std::move(judged)});
        if (!gains) {
            return;
        }
        model_.landmarks = std::move(points);
        model_.landmarks_asked = kLandmarksAsked;
        model_.landmark_error_weight = kLandmarkErrorWeight;
        task.landmarks = as_rows(model_.landmarks);
        task.landmark_options = landmark_options();
    }
    [[nodiscard]] LandmarkOptions landmark_options() const noexcept {
        return {
            .metric = options_.metric,
            .asked = kLandmarksAsked,
            .error_weight = static_cast<float>(kLandmarkErrorWeight)};
    }

    /// Learns a whole-space codebook, of as many points as the time until the deadline bears,
    /// judged by the codebook before.
    std::vector<float> cluster(const PointSource& points, std::size_t token) {
        KMeansOptions options;
        options.principal_axes = dim() > 1 && dim() <= kMaxAxesPerTokenDim;
        // Widening pays where the first coordinates are the strongest.
        if (options.principal_axes) {
            options.widenings = widenings(dim());
        }
        options.iterations = options.principal_axes ? kEarlyIterations : 2 * kEarlyIterations;
        options.leaves_out_weak = token >= kFirstTokens && dim() > kNarrow;
        options.seed = options_.seed * kMaxCodeBytes + token;
        options.go_on = [this] { return supervisor_.go_on(); };
        options.most_points = pace_.most_points(kClusteringShare * supervisor_.time_left());
        const double before = supervisor_.seconds();
        std::vector<float> codebook = kmeans(points, options);
        pace_.took(supervisor_.seconds() - before, std::min(points.count, options.most_points));
        return codebook;
    }
    /// What the hypotheses of every row leave, so many times enlarged, as points to cluster.
    [[nodiscard]] PointSource residuals(const BeamSearch::State& state, float enlarged) const {
        PointSource source;
        source.count = rows() * state.count;
        source.dim = dim();
        source.fetch = [this, &state, enlarged](std::span<const std::size_t> indices, float* out) {
            const auto flop = static_cast<double>(dim() * (state.tokens + 1));
            for_each_by_tiles(indices.size(), flop, [&](std::size_t i) {
                const std::size_t row = indices[i] / state.count;
                const std::uint8_t* const code = state.code(row, indices[i] % state.count);
                std::copy_n(z_.data() + row * dim(), dim(), out + i * dim());
                for (std::size_t s = 0; s < state.tokens; ++s) {
                    kernels().subtract(out + i * dim(), early_symbol(s, code[s]), dim());
                }
                for (std::size_t j = 0; j < dim(); ++j) {
                    out[i * dim() + j] *= enlarged;
                }
            });
        };
        return source;
    }
    [[nodiscard]] const float* early_symbol(std::size_t token, std::size_t symbol) const noexcept {
        return model_.early.data() + (token * kSymbols + symbol) * dim();
    }
    /// @param left  Squared error that the tokens so far leave.
    void set_error(double left) {
        supervisor_.set_error(energy_ > 0.0 ? std::max(left / energy_, 0.0) : 0.0);
    }
    void step(const BeamSearch& search, BeamSearch::State& state) {
        for_each_tile(z(), [&](std::size_t first, auto tile, float* scratch) {
            search.step(tile, first, state, scratch);
        });
        BeamSearch::advance(state);
        set_error(state.left(energy_));
    }

    /// Replaces the rows by what their early tokens leave, chosen as encode() will choose them.
    void encode_early() {
        supervisor_.begin("encoding rows", early_, options_.code_bytes);
        queries_ = {}; // They have served.
        asking_ = {};
        std::vector<float> mean = model_.mean;
        std::vector<float> symbols = model_.early; // What they decode to.
        if (!model_.decode_map.empty()) {
            turn_in_place(mean, model_.decode_map);
            turn_in_place(symbols, model_.decode_map);
        }
        const bool by_landmarks = !model_.landmarks.empty();
        const BeamSearch search = early_search(model_, mean, symbols);
        for (std::vector<float>* const points : {&z_, &held_out_}) {
            const MatrixView<float> view(points->data(), points->size() / dim(), dim());
            const auto centre = [&](MatrixView<float> tile) {
                for (std::size_t i = 0; i < tile.rows(); ++i) {
                    kernels().add(tile.row(i).data(), model_.mean.data(), dim());
                    kernels().subtract(tile.row(i).data(), mean.data(), dim());
                }
            };
            for_each_tile(view, [&](std::size_t first, auto same, float* scratch) {
                const MatrixView<float> tile = view.slice(first, same.rows()); // To be written.
                if (by_landmarks && !model_.decode_map.empty()) {
                    centre(tile);
                }
                const BeamSearch::State state =
                    search.run(tile, model_.beam_width, model_.commit_points, early_, scratch);
                if (!by_landmarks && !model_.decode_map.empty()) {
                    centre(tile);
                }
                for (std::size_t i = 0; i < tile.rows(); ++i) {
                    for (std::size_t t = 0; t < early_; ++t) {
                        const std::size_t symbol = state.code(i, 0)[t];
                        kernels().subtract(
                            tile.row(i).data(), symbols.data() + (t * kSymbols + symbol) * dim(),
                            dim());
                    }
                }
            });
        }
    }

    /// Gives every sub-space about the same share of the residual's log-variance.
    void spread_residual() {
        const std::size_t subspaces = std::min(kSubspaces, dim());
        model_.subspace_bounds = {0};
        for (std::size_t s = 1; s <= subspaces; ++s) {
            model_.subspace_bounds.push_back(s * dim() / subspaces);
        }
        if (options_.code_bytes <= early_ || dim() < 2 || dim() > kMaxRotatedDim) {
            return;
        }
        supervisor_.begin("rotation", early_, options_.code_bytes);
        const std::vector<float> axes = learned_axes("axes of the residual");
        std::vector<double> variance(dim(), 0.0);
        std::vector<float> turned(z_.size());
        turn_points(z(), axes, turned.data());
        for (std::size_t i = 0; i < rows(); ++i) {
            for (std::size_t j = 0; j < dim(); ++j) {
                const auto value = static_cast<double>(turned[i * dim() + j]);
                variance[j] += value * value;
            }
        }
        rotate(allocate_axes(axes, variance));
    }
    /// Orders axes so that each, from the strongest on, joins the sub-space of the least
    /// log-variance with room.
    [[nodiscard]] std::vector<float> allocate_axes(
        const std::vector<float>& axes, const std::vector<double>& variance) const {
        const std::size_t subspaces = model_.subspace_bounds.size() - 1;
        std::vector<double> load(subspaces, 0.0);
        std::vector<std::size_t> filled(subspaces, 0);
        std::vector<float> ordered(axes.size());
        const double floor = std::max(energy_ * 1e-12, std::numeric_limits<double>::min());
        const double reference =
            std::log(std::max(*std::max_element(variance.begin(), variance.end()), floor));
        for (std::size_t j = 0; j < dim(); ++j) {
            std::size_t best = subspaces;
            for (std::size_t s = 0; s < subspaces; ++s) {
                const bool room =
                    filled[s] < model_.subspace_bounds[s + 1] - model_.subspace_bounds[s];
                if (room && (best == subspaces || load[s] < load[best])) {
                    best = s;
                }
            }
            std::copy_n(
                axes.data() + j * dim(), dim(),
                ordered.data() + (model_.subspace_bounds[best] + filled[best]) * dim());
            // Relative to the strongest axis, plus one, so that a filled place always adds load.
            load[best] += std::log(std::max(variance[j], floor)) - reference + std::log(1e12);
            ++filled[best];
        }
        return ordered;
    }

    void train_late() {
        const std::size_t tokens = options_.code_bytes - early_;
        if (tokens == 0) {
            return;
        }
        model_.late_beam_width = kLateBeam;
        // At first where the sub-spaces, if all take as many, double the code's length.
        for (std::size_t point = early_ / kSubspaces; true; point += kLateCommitEvery) {
            model_.late_commit_points.push_back(point);
            if (point > tokens) { // Beyond what one sub-space may take.
                break;
            }
        }
        SubspaceTrainer trainer(
            {.trained = z(),
             .held_out = held_out_rows(),
             .bounds = model_.subspace_bounds,
             .beam_width = model_.late_beam_width,
             .commit_points = model_.late_commit_points,
             .iterations = kLateIterations,
             .go_on = [this] { return supervisor_.go_on(); },
             .learn =
                 [this](std::size_t s, std::size_t token, std::size_t count, const auto& cluster) {
                     return checkpoint_.learned(
                         "sub-space " + std::to_string(s) + ", " + std::to_string(token), count,
                         cluster);
                 }});
        left_ = energy(z_);
        z_ = {}; // The trainer has its own.
        held_out_ = {};
        supervisor_.set_deadline(kRelationShare);
        for (std::size_t s = 0; s < trainer.subspaces(); ++s) {
            trainer.make_offer(s, late_seed(s, 0));
        }
        for (std::size_t j = 0; j < tokens; ++j) {
            supervisor_.begin("sub-space codebook", early_ + j, options_.code_bytes);
            supervisor_.set_deadline(
                kRelationShare + (kLateShare - kRelationShare) * static_cast<double>(j + 1) /
                                     static_cast<double>(tokens));
            const std::size_t best = trainer.best();
            const SubspaceTrainer::Token token = trainer.take(best);
            model_.late_subspaces.push_back(best);
            model_.late.insert(model_.late.end(), token.codebook.begin(), token.codebook.end());
            left_ -= token.gain;
            set_error(left_);
            if (j + 1 < tokens) {
                trainer.make_offer(best, late_seed(best, j + 1));
            }
        }
    }
    [[nodiscard]] std::uint64_t late_seed(std::size_t subspace, std::size_t token) const {
        return options_.seed * kMaxCodeBytes + kFirstTokens + token * kSubspaces + subspace;
    }

    /// Learns float features of the rows as they were given, or as the model sees them where pairs
    /// taught a map; codes have no part in them.
    void train_features() {
        z_ = {};
        held_out_ = {};
        if (!options_.features) {
            return;
        }
        supervisor_.begin("features", options_.code_bytes, options_.code_bytes, /*even=*/false);
        supervisor_.reserve(0.0);
        supervisor_.set_deadline(kFeatureEnd);
        const std::size_t used = std::min(kMaxFeatureRows, given_rows());
        std::vector<float> rows =
            gather(embeddings_, std::span(split_.train).first(used), options_.metric);
        std::vector<float> measured = gather(embeddings_, split_.held_out, options_.metric);
        if (!model_.entry.empty()) {
            for (std::vector<float>* const some : {&rows, &measured}) {
                map_rows(*some);
                turn_in_place(*some, model_.rotation);
            }
        }
        const std::string step = "features";
        const FeatureTask task{
            .rows = {rows.data(), used, dim()},
            .held_out = {measured.data(), held_out(), dim()},
            .metric = options_.metric,
            .seed = options_.seed,
            .go_on = [this] { return supervisor_.go_on(); },
            .spent = [this] { return supervisor_.spent(); },
            .begun = checkpoint_.unfinished(step),
            .keep = [&](const auto& state) { checkpoint_.offer(step, state); }};
        model_.features =
            features_from(
                checkpoint_.learned(step, [&] { return to_state(learn_features(task)); }), dim())
                .weights;
    }

    /// Learns what takes decoded rows back behind the map that pairs taught.
    void find_way_back() {
        if (model_.entry.empty()) {
            return;
        }
        if (model_.late_subspaces.empty()) {
            left_ = energy(z_);
        }
        const double noise = std::max(left_, 0.0) / static_cast<double>(clustered_rows_ * dim());
        model_.exit_map = checkpoint_.learned("way back", dim() * dim(), [&] {
            std::vector<float> back = inverse_map(moments_, noise);
            turn_in_place(back, model_.rotation); // Of turned rows.
            return back;
        });
    }

    /// Rounds weights to float16, tensor by tensor; those of a scale that float16 has too few
    /// numbers for, as rows of another scale than embeddings' make them, stay.
    void round_weights() {
        FeatureWeights& features = model_.features;
        for (std::vector<float>* const tensor :
             {&model_.entry.hidden, &model_.entry.hidden_bias, &model_.entry.output,
              &model_.rotation, &model_.exit_map, &model_.mean, &model_.early, &model_.decode_map,
              &model_.late, &features.map, &features.offset, &features.bend.hidden,
              &features.bend.hidden_bias, &features.bend.output}) {
            round_tensor(*tensor);
        }
    }
    static void round_tensor(std::vector<float>& tensor) {
        float largest = 0.0F;
        for (const float value : tensor) {
            largest = std::max(largest, std::fabs(value));
        }
        if (largest < kLeastHalved || largest > kMostHalved) {
            return;
        }
        for (float& value : tensor) {
            value = from_half(to_half(value));
        }
    }

    std::unique_ptr<Compressor> finish() {
        round_tensor(model_.landmarks); // They need no more, whatever codes are.
        if (options_.compact) {
            round_weights();
        }
        TrainReport report;
        report.pairs = pairs_;
        report.parts = std::move(parts_);
        report.trained_rows = given_rows();
        report.held_out_rows = split_.held_out.size();
        report.stopped_by_budget = supervisor_.stopped_by_budget();
        if (!split_.held_out.empty()) {
            supervisor_.begin("measuring recall", options_.code_bytes, options_.code_bytes);
            const ResidualCompressor compressor(model_, report);
            const std::vector<float> rows = gather(embeddings_, split_.held_out, options_.metric);
            report.residuals = measure_residuals(
                compressor, {rows.data(), held_out(), dim()}, measured_lengths(compressor));
            report.recall = measure(compressor);
            supervisor_.set_recall(report.recall.back().recall_at_10);
        }
        report.seconds = supervisor_.seconds();
        supervisor_.begin("done", options_.code_bytes, options_.code_bytes);
        return std::make_unique<ResidualCompressor>(std::move(model_), std::move(report));
    }
    [[nodiscard]] torch::Tensor neighbours(
        std::vector<float> queries, std::vector<float> base) const;
    [[nodiscard]] std::vector<HeldOutRecall> measure(const ResidualCompressor& compressor) const;

    const TrainOptions& options_;
    TrainingSupervisor supervisor_;
    TrainingCheckpoint checkpoint_;
    std::mt19937_64 random_;
    MatrixView<const float> embeddings_;
    Split split_;
    ResidualModel model_;
    std::vector<float> z_; ///< [rows, dim]: centred, turned; from encode_early() on, what is left
                           ///< of them.
    std::vector<float> held_out_;     ///< [held_out, dim], as z_.
    Split query_split_;               ///< Of the caller's queries; empty: none were given.
    std::vector<float> queries_;      ///< [queries, dim]: turned, not centred; of those that train,
    std::vector<float> asking_;       ///< and of those that measure.
    double energy_ = 0;               ///< Sum of the centred rows' squared norms,
    double held_out_energy_ = 0;      ///< and of the held-out ones', as early codebooks see them.
    double left_ = 0;                 ///< Squared error of the rows by all tokens so far, from the
                                      ///< first late one on.
    std::size_t clustered_rows_ = 0;  ///< Given and drawn.
    std::optional<PairReport> pairs_; ///< Nothing: none were given.
    std::vector<PartReport> parts_;   ///< As they are measured.
    MapMoments moments_;              ///< Of rows and what pairs make of them, if they do.
    std::size_t early_ = 0;
    ClusteringPace pace_;
};

/// Returns the places of the ten largest scores of each row [m, 10].
torch::Tensor top10(const torch::Tensor& scores) {
    return std::get<1>(scores.topk(std::min<std::int64_t>(10, scores.size(1)), 1));
}

torch::Tensor tensor_of(std::vector<float>& values, std::size_t width) {
    return torch::from_blob(
        values.data(),
        {static_cast<std::int64_t>(values.size() / width), static_cast<std::int64_t>(width)},
        torch::kFloat32);
}

/// Returns the places of each query's ten nearest rows [queries, 10], as the model is to rank them:
/// behind the map that pairs taught.
torch::Tensor Trainer::neighbours(std::vector<float> queries, std::vector<float> base) const {
    if (!model_.entry.empty()) {
        map_rows(queries);
        map_rows(base);
    }
    torch::Tensor exact = torch::mm(tensor_of(queries, dim()), tensor_of(base, dim()).t());
    if (options_.metric == Metric::kL2) {
        exact = 2 * exact - tensor_of(base, dim()).square().sum(1).unsqueeze(0);
    }
    return top10(exact);
}

/// Recall of held-out queries, or rows as queries, against the rows trained on.
std::vector<HeldOutRecall> Trainer::measure(const ResidualCompressor& compressor) const {
    const torch::InferenceMode guard;
    const std::size_t base_rows = std::min(kMaxRecallBase, split_.train.size());
    const std::vector<float> queries =
        options_.queries.empty() ? gather(embeddings_, split_.held_out, options_.metric)
                                 : gather(options_.queries, query_split_.held_out, options_.metric);
    const std::size_t asking = queries.size() / dim();
    std::vector<float> base =
        gather(embeddings_, std::span(split_.train).first(base_rows), options_.metric);
    const torch::Tensor truth = neighbours(queries, base);
    std::vector<std::byte> codes(base_rows * model_.code_bytes);
    const MatrixView<const float> base_view(base.data(), base_rows, dim());
    compressor.encode(base_view, model_.code_bytes, {codes.data(), base_rows, model_.code_bytes});
    std::vector<HeldOutRecall> recall;
    std::vector<std::size_t> lengths;
    for (std::size_t bytes = 4; bytes < model_.code_bytes; bytes *= 2) {
        lengths.push_back(bytes);
    }
    lengths.push_back(model_.code_bytes);
    for (const std::size_t length : lengths) {
        const std::vector<std::byte> prefix = prefixes(codes, model_.code_bytes, length);
        std::vector<float> scores(asking * base_rows);
        compressor.score(
            as_rows(queries), {prefix.data(), base_rows, length}, false,
            {scores.data(), asking, base_rows});
        const torch::Tensor found = top10(tensor_of(scores, base_rows));
        const torch::Tensor hits = (found.unsqueeze(2) == truth.unsqueeze(1)).sum();
        recall.push_back({length, hits.item<double>() / static_cast<double>(truth.numel())});
    }
    return recall;
}

} // namespace

std::unique_ptr<Compressor> train_residual(
    MatrixView<const float> embeddings, const TrainOptions& options) {
    check_options(embeddings, options);
    return Trainer(embeddings, options).run();
}

} // namespace arfc
