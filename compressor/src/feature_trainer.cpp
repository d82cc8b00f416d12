#include "feature_trainer.h"

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <utility>

#include "arfc/base/error.h"
#include "learning_tensors.h"
#include "relation_graph.h"

namespace arfc {
namespace {

constexpr std::size_t kMinRows = 900;      // Fewer overfit before they gain.
constexpr std::size_t kMaxAnchors = 16384; // Whose neighbours are sought, among themselves,
constexpr double kNeighbourShare = 0.2;    // in that share of the time, at most.
constexpr std::int64_t kLeastSteps = 200;
constexpr std::int64_t kMostSteps = 1500;
constexpr std::int64_t kRowsPerStep = 10;
constexpr std::int64_t kWarmUp = 20;
constexpr std::int64_t kMeasureEvery = 50;
constexpr std::int64_t kMostHidden = 512;    // Units of the perceptron, and of the decoder's;
constexpr std::int64_t kHiddenShare = 4;     // so many times the width, where that is fewer.
constexpr std::int64_t kAnchors = 32;        // Of a step; every row of it asks all the others.
constexpr std::int64_t kNeighboursDrawn = 4; // Of each anchor's.
constexpr std::int64_t kRandomRows = 96;
constexpr double kLearningRate = 3e-3;
constexpr double kLinearShare = 0.1; // Of the rate: the linear maps begin in a good place.
constexpr double kRelationWeight = 2.0;
constexpr double kReconstructionWeight = 6.0;
constexpr double kLongestGradient = 1.0; // Norm to which it is cut.
// How much of what was learned is added to the axes: all of it helps short prefixes most, and less
// of it harms long ones less.
constexpr std::array<double, 4> kStrengths = {1.0, 0.75, 0.5, 0.25};
constexpr std::array<std::size_t, 4> kDivisors = {2, 4, 10, 20}; // Of the lengths measured.

/// Principal axes to begin with.
struct Start {
    torch::Tensor axes;   ///< [d, d], as columns, that of the largest eigenvalue first.
    torch::Tensor origin; ///< [d]: what is taken from rows before they are turned.
};

Start principal_start(const torch::Tensor& rows, bool centred) {
    const torch::Tensor mean =
        centred ? rows.mean(0) : torch::zeros({rows.size(1)}, torch::kFloat32);
    const torch::Tensor moved = rows - mean;
    const torch::Tensor moment = torch::mm(moved.t(), moved).to(torch::kFloat64);
    const torch::Tensor axes = std::get<1>(torch::linalg_eigh(moment)).flip({1});
    return {axes.to(torch::kFloat32).contiguous(), mean};
}

/// What gradient steps change, by name: the features' part, which is kept, and the decoder's.
struct Parameter {
    const char* name;
    bool linear;  ///< Begins in a good place, so it learns slowly.
    bool feature; ///< Is part of the features.
    bool last;    ///< Features change in proportion to it.
    torch::Tensor values;
};

class FeatureTrainer {
  public:
    explicit FeatureTrainer(const FeatureTask& task)
        : task_(task), random_(task.seed), graph_(task.metric),
          width_(static_cast<std::int64_t>(task.rows.cols())),
          steps_(std::clamp(
              static_cast<std::int64_t>(task.rows.rows()) / kRowsPerStep, kLeastSteps,
              kMostSteps)) {
        for (const std::size_t divisor : kDivisors) {
            lengths_.insert(std::max<std::int64_t>(1, width_ / static_cast<std::int64_t>(divisor)));
        }
    }

    LearnedFeatures run() {
        rows_ = tensor_of(task_.rows.slice(0, std::min(kMaxFeatureRows, task_.rows.rows())));
        measured_ = task_.held_out.rows() > static_cast<std::size_t>(kFound)
                      ? tensor_of(task_.held_out)
                      : rows_.slice(0, 0, 1000);
        if (measured_.size(0) > kFound) {
            truth_ = best_others(graph_.similarities(measured_, measured_));
        }
        begin();
        if (can_learn()) {
            learn();
        }
        return outcome();
    }

  private:
    [[nodiscard]] bool can_learn() const {
        return task_.rows.rows() >= kMinRows && width_ > 1 &&
               task_.held_out.rows() > static_cast<std::size_t>(kFound);
    }

    /// Chooses the axes to begin with, or takes those of a state.
    void begin() {
        if (task_.begun) {
            start_ = {
                tensor_of(*task_.begun, "axes", {width_, width_}),
                tensor_of(*task_.begun, "origin", {width_})};
            before_ = number_of(*task_.begun, "before");
            return;
        }
        start_ = principal_start(rows_, /*centred=*/true);
        if (!truth_.defined()) {
            return;
        }
        before_ = kept(torch::mm(measured_ - start_.origin, start_.axes));
        Start other = principal_start(rows_, /*centred=*/false);
        const double found = kept(torch::mm(measured_, other.axes));
        if (found > before_) {
            start_ = std::move(other);
            before_ = found;
        }
    }

    void learn() {
        prepare();
        if (task_.begun) {
            restore(*task_.begun);
        } else {
            most_ = before_;
        }
        for (; step_ <= steps_; ++step_) {
            if (task_.keep && step_ > 0) {
                task_.keep([this] { return state(); });
            }
            const bool over = step_ == steps_ || !task_.go_on();
            if (step_ > 0 && (over || step_ % kMeasureEvery == 0)) {
                keep_best();
            }
            if (over) {
                break;
            }
            descend();
        }
    }
    void keep_best() {
        const torch::NoGradGuard guard;
        const torch::Tensor inputs = turned(measured_);
        const torch::Tensor start = inputs + offset_;
        const torch::Tensor change = features(inputs) - start;
        for (const double strength : kStrengths) {
            const double found = kept(start + strength * change);
            if (found > most_) {
                most_ = found;
                keep_parameters(strength);
            }
        }
    }
    void keep_parameters(double strength) {
        best_.clear();
        for (const Parameter& parameter : parameters_) {
            if (parameter.feature) {
                const torch::Tensor values = parameter.values.detach();
                best_.push_back(parameter.last ? values * strength : values.clone());
            }
        }
    }

    /// Turns rows to the axes and scales them to variance one, on average over the axes; centred,
    /// whatever the start.
    void prepare() {
        mean_ = rows_.mean(0);
        const torch::Tensor centred = torch::mm(rows_ - mean_, start_.axes);
        scale_ = std::max(1e-12, centred.square().mean().sqrt().item<double>());
        spread_ = centred.square().mean(0).sqrt() / scale_;
        offset_ = torch::mv(start_.axes.t(), mean_ - start_.origin) / scale_;
        inputs_ = centred / scale_;
        add_parameters();
        const torch::Tensor anchors = rows_.slice(0, 0, static_cast<std::int64_t>(kMaxAnchors));
        neighbours_ =
            task_.begun ? restored_neighbours(*task_.begun) : graph_.nearest_rows(anchors, [this] {
                return task_.go_on() && (!task_.spent || task_.spent() < kNeighbourShare);
            });
        graph_.fit_scale(anchors, neighbours_);
    }
    void add_parameters() {
        const auto zeros = [](std::vector<std::int64_t> shape) { return torch::zeros(shape); };
        const auto drawn = [this](std::int64_t from, std::int64_t to) {
            return drawn_normal(random_, {from, to}, 1.0F / std::sqrt(static_cast<float>(from)));
        };
        const std::int64_t d = width_;
        const std::int64_t units = std::min(kMostHidden, kHiddenShare * d);
        parameters_ = {
            {"change", true, true, true, zeros({d, d})},
            {"shift", true, true, true, zeros({d})},
            {"hidden", false, true, false, drawn(d, units)},
            {"hidden_bias", false, true, false, zeros({units})},
            {"output", false, true, true, zeros({units, d})},
            {"sharpness", false, false, false, zeros({d + 1})},
            {"decoder", true, false, false, zeros({d, d})},
            {"decoder_shift", true, false, false, zeros({d})},
            {"decoder_hidden", false, false, false, drawn(d, units)},
            {"decoder_bias", false, false, false, zeros({units})},
            {"decoder_lengths", false, false, false, zeros({d + 1, units})},
            {"decoder_output", false, false, false, zeros({units, d})}};
        std::vector<torch::optim::OptimizerParamGroup> groups;
        for (Parameter& parameter : parameters_) {
            parameter.values.requires_grad_();
            groups.emplace_back(std::vector<torch::Tensor>{parameter.values});
        }
        optimizer_ = std::make_unique<torch::optim::AdamW>(
            groups, torch::optim::AdamWOptions(kLearningRate).betas({0.9, 0.99}).weight_decay(0.0));
    }
    [[nodiscard]] const torch::Tensor& parameter(std::string_view name) const {
        return std::ranges::find(parameters_, name, &Parameter::name)->values;
    }

    [[nodiscard]] torch::Tensor turned(const torch::Tensor& rows) const {
        return torch::mm(rows - mean_, start_.axes) / scale_;
    }
    /// @param inputs  [n, d], turned. @returns [n, d].
    [[nodiscard]] torch::Tensor features(const torch::Tensor& inputs) const {
        const torch::Tensor units =
            torch::relu(torch::addmm(parameter("hidden_bias"), inputs, parameter("hidden")));
        const torch::Tensor change = torch::addmm(parameter("shift"), inputs, parameter("change")) +
                                     torch::mm(units, parameter("output"));
        return inputs + offset_ + change * spread_;
    }
    /// Reconstructs inputs from the first numbers of features. @returns [n, d].
    [[nodiscard]] torch::Tensor decoded(const torch::Tensor& features, std::int64_t length) const {
        const torch::Tensor seen = features.slice(1, 0, length) - offset_.slice(0, 0, length);
        const torch::Tensor units = torch::relu(torch::addmm(
            parameter("decoder_bias") + parameter("decoder_lengths").select(0, length), seen,
            parameter("decoder_hidden").slice(0, 0, length)));
        return torch::addmm(
                   parameter("decoder_shift"), seen, parameter("decoder").slice(0, 0, length)) +
               torch::mm(units, parameter("decoder_output")) +
               torch::constant_pad_nd(seen, {0, width_ - length});
    }

    void descend() {
        const double share = std::max(
            static_cast<double>(step_) / static_cast<double>(steps_),
            task_.spent ? task_.spent() : 0.0);
        set_rate(share);
        const torch::Tensor places = drawn_places();
        const torch::Tensor rows = rows_.index_select(0, places);
        const torch::Tensor inputs = inputs_.index_select(0, places);
        const torch::Tensor itself = places.unsqueeze(1) == places.unsqueeze(0);
        const torch::Tensor wanted = RelationGraph::edges(graph_.similarities(rows, rows), itself);
        const torch::Tensor weights = wanted.exp();
        const torch::Tensor all = features(inputs);
        std::set<std::int64_t> lengths =
            drawn_lengths(random_, {}, share, *lengths_.begin(), width_);
        // The shortest of them and a middle one: decoding costs more than all the rest.
        const std::set<std::int64_t> decoded_lengths{
            *lengths.begin(),
            *std::next(lengths.begin(), static_cast<std::ptrdiff_t>(lengths.size() / 2))};
        lengths.insert({*lengths_.rbegin(), width_});
        torch::Tensor loss = (all - offset_ - inputs).square().mean(); // Numbers stay near axes.
        for (const std::int64_t length : decoded_lengths) {
            loss = loss + (decoded(all, length) - inputs).square().mean() *
                              (kReconstructionWeight / static_cast<double>(decoded_lengths.size()));
        }
        for (const std::int64_t length : lengths) {
            const torch::Tensor prefix = all.slice(1, 0, length) * scale_;
            const torch::Tensor given = RelationGraph::edges(
                graph_.scores(prefix, prefix) * parameter("sharpness")[length].exp(), itself);
            loss = loss + (weights * (wanted - given)).sum(1).mean() *
                              (kRelationWeight / static_cast<double>(lengths.size()));
        }
        optimizer_->zero_grad();
        loss.backward();
        follow_gradient();
    }
    void set_rate(double share) {
        const double warm = std::min(1.0, static_cast<double>(step_ + 1) / kWarmUp);
        const double rate = kLearningRate * warm * 0.5 * (1.0 + std::cos(M_PI * share));
        for (std::size_t i = 0; i < parameters_.size(); ++i) {
            optimizer_->param_groups()[i].options().set_lr(
                rate * (parameters_[i].linear ? kLinearShare : 1.0));
        }
    }
    void follow_gradient() {
        std::vector<torch::Tensor> values;
        for (const Parameter& parameter : parameters_) {
            values.push_back(parameter.values);
        }
        torch::nn::utils::clip_grad_norm_(values, kLongestGradient);
        optimizer_->step();
    }
    /// Draws a step's rows: anchors, some of their neighbours, and any others.
    [[nodiscard]] torch::Tensor drawn_places() {
        const torch::Tensor anchors = drawn_rows(random_, kAnchors, neighbours_.size(0));
        const torch::Tensor near =
            neighbours_.index_select(0, anchors)
                .index_select(1, drawn_rows(random_, kNeighboursDrawn, kNeighbours))
                .flatten();
        return torch::cat({anchors, near, drawn_rows(random_, kRandomRows, rows_.size(0))});
    }

    /// Returns the share of nearest others that stay so, mean over the measured lengths.
    /// @param features  [m, d] of the rows that measure.
    [[nodiscard]] double kept(const torch::Tensor& features) const {
        double total = 0.0;
        for (const std::int64_t length : lengths_) {
            const torch::Tensor prefix = features.slice(1, 0, length);
            total += share_found(best_others(graph_.scores(prefix, prefix)), truth_);
        }
        return total / static_cast<double>(lengths_.size());
    }

    /// Tells where the learning stands before a step: all that does not follow from the task.
    [[nodiscard]] LearningState state() const {
        LearningState out;
        out.numbers = {{"step", static_cast<double>(step_)}, {"before", before_}, {"most", most_}};
        std::ostringstream random;
        random << random_;
        out.random = random.str();
        out.arrays["axes"] = stored(start_.axes);
        out.arrays["origin"] = stored(start_.origin);
        out.arrays["neighbours"] = stored(neighbours_);
        std::size_t place = 0;
        for (const Parameter& parameter : parameters_) {
            store_parameter(out, parameter.name, parameter.values, *optimizer_);
            if (parameter.feature && !best_.empty()) {
                out.arrays[std::string("best.") + parameter.name] = stored(best_[place++]);
            }
        }
        return out;
    }
    void restore(const LearningState& state) {
        step_ = static_cast<std::int64_t>(number_of(state, "step"));
        most_ = number_of(state, "most");
        std::istringstream random(state.random);
        if (!(random >> random_) || step_ < 1 || most_ < before_) {
            fail_corrupt_state("random");
        }
        for (Parameter& parameter : parameters_) {
            restore_parameter(state, parameter.name, parameter.values, *optimizer_, step_);
            if (parameter.feature && most_ > before_) {
                best_.push_back(tensor_of(
                    state, std::string("best.") + parameter.name, parameter.values.sizes().vec()));
            }
        }
    }
    [[nodiscard]] torch::Tensor restored_neighbours(const LearningState& state) const {
        const std::int64_t most = std::min(rows_.size(0), static_cast<std::int64_t>(kMaxAnchors));
        const auto found = state.arrays.find("neighbours");
        if (found == state.arrays.end() || found->second.shape.size() != 2 ||
            found->second.shape[0] == 0 ||
            found->second.shape[0] > static_cast<std::size_t>(most)) {
            fail_corrupt_state("neighbours");
        }
        return integers_of(
            state, "neighbours", {static_cast<std::int64_t>(found->second.shape[0]), kNeighbours},
            most);
    }

    /// Returns what is best as a function of rows as they are, in their units.
    [[nodiscard]] LearnedFeatures outcome() const {
        const torch::Tensor axes = start_.axes.to(torch::kFloat64);
        LearnedFeatures out;
        out.kept_before = before_;
        out.kept_after = best_.empty() ? before_ : most_;
        if (best_.empty()) {
            out.weights.map = values_of(start_.axes.t());
            out.weights.offset = values_of(
                -torch::mv(axes.t(), start_.origin.to(torch::kFloat64)).to(torch::kFloat32));
            return out;
        }
        std::vector<torch::Tensor> best;
        std::ranges::transform(best_, std::back_inserter(best), [](const torch::Tensor& values) {
            return values.to(torch::kFloat64);
        });
        const auto floats = [](const torch::Tensor& values) {
            return values_of(values.to(torch::kFloat32));
        };
        const torch::Tensor& change = best[0];
        const torch::Tensor& shift = best[1];
        const torch::Tensor& hidden = best[2];
        const torch::Tensor& hidden_bias = best[3];
        const torch::Tensor& output = best[4];
        const torch::Tensor spread = spread_.to(torch::kFloat64);
        const torch::Tensor map =
            torch::eye(width_, torch::kFloat64) + change * spread.unsqueeze(0);
        const torch::Tensor turned_mean = torch::mv(axes.t(), mean_.to(torch::kFloat64));
        const torch::Tensor offset = (offset_.to(torch::kFloat64) + shift * spread) * scale_;
        out.weights.map = floats(torch::mm(axes, map).t());
        out.weights.offset = floats(offset - torch::mv(map.t(), turned_mean));
        out.weights.bend.hidden = floats(torch::mm(axes, hidden).t() / scale_);
        out.weights.bend.hidden_bias =
            floats(hidden_bias - torch::mv(hidden.t(), turned_mean) / scale_);
        out.weights.bend.output = floats((output * spread.unsqueeze(0)).t() * scale_);
        return out;
    }

    const FeatureTask& task_;
    std::mt19937_64 random_;
    RelationGraph graph_;
    std::int64_t width_;
    std::int64_t steps_;             ///< That there will be.
    std::set<std::int64_t> lengths_; ///< Of the prefixes that are measured.
    torch::Tensor rows_;             ///< [n, d]: rows that train,
    torch::Tensor inputs_;           ///< [n, d]: the same, turned and scaled.
    torch::Tensor measured_;         ///< [m, d]: rows that measure.
    torch::Tensor truth_;            ///< [m, 10]: those of them that are nearest to each.
    torch::Tensor neighbours_;       ///< [anchors, 32], of the first rows.
    Start start_;
    torch::Tensor mean_;   ///< [d], of the rows.
    double scale_ = 1.0;   ///< Deviation of the rows, mean over axes.
    torch::Tensor spread_; ///< [d]: deviation along each axis, in that unit: what is learned of a
                           ///< number is in proportion to its own.
    torch::Tensor offset_; ///< [d]: what the start adds to centred rows, in that unit.
    std::vector<Parameter> parameters_;
    std::unique_ptr<torch::optim::AdamW> optimizer_;
    std::int64_t step_ = 0;
    double before_ = 0.0;             ///< Kept at the start,
    double most_ = 0.0;               ///< the best so far,
    std::vector<torch::Tensor> best_; ///< and the features' parameters that had it; empty while
                                      ///< that is the start.
};

} // namespace

LearnedFeatures learn_features(const FeatureTask& task) {
    return FeatureTrainer(task).run();
}

LearningState to_state(LearnedFeatures features) {
    LearningState state;
    const auto keep = [&](const char* name, std::vector<float>& values) {
        state.arrays[name] = {{values.size()}, std::move(values)};
    };
    keep("map", features.weights.map);
    keep("offset", features.weights.offset);
    keep_perceptron(state, features.weights.bend);
    state.numbers = {{"kept_before", features.kept_before}, {"kept_after", features.kept_after}};
    return state;
}

LearnedFeatures features_from(LearningState state, std::size_t dim) {
    LearnedFeatures features;
    features.kept_before = number_of(state, "kept_before");
    features.kept_after = number_of(state, "kept_after");
    features.weights.bend = perceptron_from(state, dim);
    features.weights.map = take_array(state, "map", dim * dim);
    features.weights.offset = take_array(state, "offset", dim);
    return features;
}

} // namespace arfc
