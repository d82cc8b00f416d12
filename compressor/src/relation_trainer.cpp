#include "relation_trainer.h"

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <set>
#include <sstream>
#include <utility>

#include "arfc/base/error.h"
#include "beam_search.h"
#include "learning_tensors.h"
#include "prefix_sums.h"
#include "relation_graph.h"
#include "tiles.h"

namespace arfc {
namespace {

constexpr std::size_t kMinRows = 2000;  // Fewer overfit before they gain.
constexpr std::size_t kMaxRows = 65536; // Whose neighbours are sought, among themselves.
// Steps, in proportion to the rows: 600 overfit 11,000 rows, while 50,000 gain by 2,000.
constexpr std::int64_t kLeastSteps = 600;
constexpr std::int64_t kMostSteps = 3000;
constexpr std::int64_t kRowsPerStep = 16;
constexpr double kPatience = 5.0 / 12.0; // Share of the steps without a gain that ends them.
// Rows that trained and measure, too. Of fewer, those that trained are so much closer to their
// codes than others are that they hide a step that overfits: with them banking77 (5,887 rows) ends
// .004 lower at 8 and 16 bytes; without them clinc150 (11,100) .006 and .003.
constexpr std::size_t kCompared = 8192;
constexpr std::int64_t kWarmUp = 30;
// Steps after which symbols are chosen anew, of the rows that the next ones draw; of many rows up
// to four times as many as the rate falls, and codebooks with it move less.
constexpr std::int64_t kBlock = 50;
constexpr std::int64_t kMostBlock = 200;
constexpr std::size_t kManyRows = 32768;
constexpr std::int64_t kAnchors = 96; // Of a step.
constexpr std::int64_t kNeighboursDrawn = 8;
constexpr std::int64_t kRandomRows = 384;
constexpr std::int64_t kShortest = 8; // Prefix of every step, beside those that are drawn.
// The linear map changes the strongest half of the coordinates, at most so many: with all of them
// what long codes lose is more than what short ones gain, and a step takes longer.
constexpr std::int64_t kMostMapped = 384;
constexpr double kLearningRate = 3e-4; // 1e-3 ends .005 lower.
constexpr double kRelationWeight = 0.5;
constexpr double kReconstructionWeight = 4.0;

/// What gradient steps change.
struct Parameters {
    torch::Tensor codebooks;  ///< [tokens, 256, d].
    torch::Tensor mean;       ///< [d].
    torch::Tensor map_change; ///< [mapped, mapped]: decode_map is the identity and, of the first
                              ///< coordinates, this, transposed.

    [[nodiscard]] Parameters copied() const {
        return {codebooks.detach().clone(), mean.detach().clone(), map_change.detach().clone()};
    }
};

class RelationTrainer {
  public:
    explicit RelationTrainer(const RelationTask& task)
        : task_(task), random_(task.seed), graph_(task.metric),
          tokens_(static_cast<std::int64_t>(task.commit_points.back())),
          width_(static_cast<std::int64_t>(task.rows.cols())),
          mapped_(std::min((width_ + 1) / 2, kMostMapped)),
          steps_(std::clamp(
              static_cast<std::int64_t>(task.rows.rows()) / kRowsPerStep, kLeastSteps, kMostSteps)),
          is_judged_(!task.landmarks.empty()) {}

    /// Among the held-out rows and enough that trained: of 1,000 rows the nearest lie too far from
    /// each other to tell what landmarks are for.
    [[nodiscard]] std::vector<HeldOutRecall> measure(const RelatedCodebooks* related) {
        start(/*dense=*/true);
        if (related != nullptr) {
            now_.codebooks = tensor_of(related->codebooks, {tokens_, 256, width_});
            now_.mean = tensor_of(related->mean, {width_});
            const torch::Tensor map = tensor_of(related->decode_map, {width_, width_});
            now_.map_change =
                map.slice(0, 0, mapped_).slice(1, 0, mapped_).t() - torch::eye(mapped_);
        }
        return recall();
    }

    std::optional<RelatedCodebooks> run() {
        prepare();
        if (task_.begun) {
            restore(*task_.begun);
        } else {
            before_ = mean_recall(recall());
            most_ = before_;
        }
        const auto patience = static_cast<std::int64_t>(kPatience * static_cast<double>(steps_));
        for (; step_ - best_step_ <= patience; ++step_) {
            if (task_.keep && step_ > 0) {
                task_.keep([this] { return state(); });
            }
            if (step_ == steps_) {
                break;
            }
            if (step_ == block_end_) {
                judge_block();
                begin_block();
            }
            if (!task_.go_on()) {
                break;
            }
            descend(drawn_[static_cast<std::size_t>(step_ - block_begin_)]);
        }
        judge_block(); // Time may end within one, whose steps are those of the lowest rate.
        if (!best_) {
            return std::nullopt;
        }
        torch::Tensor map = torch::eye(width_);
        map.slice(0, 0, mapped_).slice(1, 0, mapped_) += best_->map_change.t();
        return RelatedCodebooks{
            .codebooks = values_of(best_->codebooks),
            .mean = values_of(best_->mean),
            .decode_map = values_of(map),
            .recall_before = before_,
            .recall_after = most_};
    }

  private:
    /// Keeps what the block's steps have made, if there were any and it has the best recall so far.
    void judge_block() {
        if (step_ == block_begin_) {
            return;
        }
        const double found = mean_recall(recall());
        if (found > most_) {
            most_ = found;
            best_ = now_.copied();
            best_step_ = step_;
        }
    }

    /// Starts from what the task brings.
    /// @param dense  Seek among rows that trained, too, not among held-out ones alone.
    void start(bool dense) {
        now_.codebooks = tensor_of(task_.codebooks, {tokens_, 256, width_}).requires_grad_();
        now_.mean = tensor_of(task_.mean, {width_}).requires_grad_();
        now_.map_change = torch::zeros({mapped_, mapped_}).requires_grad_();
        held_out_ = tensor_of(task_.held_out) + now_.mean.detach();
        base_ = held_out_;
        if (dense) {
            const torch::Tensor others =
                tensor_of(task_.rows.slice(0, std::min(kCompared, task_.rows.rows())));
            base_ = torch::cat({held_out_, others + now_.mean.detach()});
        }
        asking_ = has_queries() ? tensor_of(task_.asking) : held_out_;
        truth_ = best(graph_.similarities(asking_, base_));
    }
    [[nodiscard]] bool has_queries() const noexcept { return !task_.queries.empty(); }
    /// Returns the places of the ten best for what asks. @param scores  [m, base], changed.
    [[nodiscard]] torch::Tensor best(torch::Tensor scores) const {
        return has_queries() ? std::get<1>(scores.topk(kFound, 1)) : best_others(std::move(scores));
    }

    /// Starts, and finds neighbours.
    void prepare() {
        start(has_queries() || task_.rows.rows() >= kCompared);
        optimizer_ = std::make_unique<torch::optim::AdamW>(
            std::vector<torch::Tensor>{now_.codebooks, now_.mean, now_.map_change},
            torch::optim::AdamWOptions(kLearningRate).betas({0.9, 0.99}).weight_decay(0.0));

        // Rows are in a random order already: the first are as good as any.
        const torch::Tensor mean = now_.mean.detach();
        embeddings_ = tensor_of(task_.rows.slice(0, std::min(kMaxRows, task_.rows.rows()))) + mean;
        variance_ = (embeddings_ - mean).square().sum(1).mean().item<double>();
        codes_ = torch::zeros({embeddings_.size(0), tokens_}, torch::kInt64);
        neighbours_ = task_.begun
                        ? restored_neighbours(*task_.begun, kNeighboursName, embeddings_.size(0))
                        : graph_.nearest_rows(embeddings_, task_.go_on);
        graph_.fit_scale(embeddings_, neighbours_);
        if (has_queries()) {
            queries_ = tensor_of(task_.queries);
            query_neighbours_ =
                task_.begun
                    ? restored_neighbours(*task_.begun, kQueryNeighboursName, queries_.size(0))
                    : graph_.nearest_rows(queries_, embeddings_, task_.go_on);
        }
    }

    struct NamedParameter {
        const char* name;
        torch::Tensor Parameters::*tensor;
    };
    static constexpr const char* kNeighboursName = "neighbours";
    static constexpr const char* kQueryNeighboursName = "query_neighbours";
    static constexpr std::array<NamedParameter, 3> kParameters = {{
        {"codebooks", &Parameters::codebooks},
        {"mean", &Parameters::mean},
        {"map_change", &Parameters::map_change},
    }};

    /// Tells where the tuning stands before a step: all that does not follow from the task.
    [[nodiscard]] LearningState state() const {
        LearningState out;
        out.numbers = {
            {"step", static_cast<double>(step_)},
            {"block_begin", static_cast<double>(block_begin_)},
            {"block_end", static_cast<double>(block_end_)},
            {"best_step", static_cast<double>(best_step_)},
            {"before", before_},
            {"most", most_}};
        std::ostringstream random;
        random << random_ << ' ' << block_random_;
        out.random = random.str();
        out.arrays["symbols"] = stored(codes_);
        out.arrays[kNeighboursName] = stored(neighbours_);
        if (has_queries()) {
            out.arrays[kQueryNeighboursName] = stored(query_neighbours_);
        }
        for (const NamedParameter& parameter : kParameters) {
            const std::string name = parameter.name;
            store_parameter(out, name, now_.*parameter.tensor, *optimizer_);
            if (best_) {
                out.arrays["best." + name] = stored((*best_).*parameter.tensor);
            }
        }
        return out;
    }
    void restore(const LearningState& state) {
        const torch::NoGradGuard guard;
        step_ = static_cast<std::int64_t>(number_of(state, "step"));
        best_step_ = static_cast<std::int64_t>(number_of(state, "best_step"));
        before_ = number_of(state, "before");
        most_ = number_of(state, "most");
        std::istringstream random(state.random);
        if (!(random >> random_ >> block_random_) || step_ < 1 || best_step_ < 0 ||
            best_step_ > step_) {
            fail_corrupt_state("random");
        }
        block_begin_ = static_cast<std::int64_t>(number_of(state, "block_begin"));
        block_end_ = static_cast<std::int64_t>(number_of(state, "block_end"));
        if (block_begin_ < 0 || block_begin_ > step_ || block_end_ < step_ || block_end_ > steps_ ||
            block_end_ - block_begin_ > kMostBlock) {
            fail_corrupt_state("block");
        }
        std::mt19937_64 again = block_random_;
        draw_block(again);
        codes_ = integers_of(state, "symbols", {embeddings_.size(0), tokens_}, 256);
        if (best_step_ > 0) {
            best_.emplace();
        }
        for (const NamedParameter& parameter : kParameters) {
            const std::string name = parameter.name;
            torch::Tensor& values = now_.*parameter.tensor;
            restore_parameter(state, name, values, *optimizer_, step_);
            if (best_) {
                (*best_).*parameter.tensor = tensor_of(state, "best." + name, values.sizes().vec());
            }
        }
    }
    /// @param most  Rows that could have asked.
    [[nodiscard]] torch::Tensor restored_neighbours(
        const LearningState& state, const char* name, std::int64_t most) const {
        const auto found = state.arrays.find(name);
        if (found == state.arrays.end() || found->second.shape.size() != 2 ||
            found->second.shape[0] == 0) {
            fail_corrupt_state(name);
        }
        const auto anchors = static_cast<std::int64_t>(found->second.shape[0]);
        if (anchors > most) {
            fail_corrupt_state(name);
        }
        return integers_of(state, name, {anchors, kNeighbours}, embeddings_.size(0));
    }

    /// Chooses the symbols of rows as the model will. @returns [n, tokens], int64.
    [[nodiscard]] torch::Tensor encode(const torch::Tensor& embeddings) const {
        const torch::NoGradGuard guard;
        const auto d = static_cast<std::size_t>(width_);
        const auto tokens = static_cast<std::size_t>(tokens_);
        // Landmarks judge by what symbols decode to, so that is what they then are.
        const auto searched = [&](const torch::Tensor& symbols) {
            return (is_judged_ ? decoded(symbols) : symbols).detach().contiguous();
        };
        const torch::Tensor mean = searched(now_.mean.unsqueeze(0));
        const torch::Tensor codebooks = searched(now_.codebooks.view({-1, width_}));
        const torch::Tensor centred = (embeddings - mean).contiguous();
        const MatrixView<const float> z(
            centred.data_ptr<float>(), static_cast<std::size_t>(centred.size(0)), d);
        BeamSearch search(d);
        if (is_judged_) {
            search.set_landmarks(
                Landmarks(task_.landmarks, values_of(mean.squeeze(0)), task_.landmark_options));
        }
        for (std::size_t t = 0; t < tokens; ++t) {
            search.add_codebook({codebooks.data_ptr<float>() + t * 256 * d, 256, d});
        }
        torch::Tensor codes = torch::empty({centred.size(0), tokens_}, torch::kInt64);
        auto* const out = codes.data_ptr<std::int64_t>();
        for_each_tile(z, [&](std::size_t first, auto tile, float* scratch) {
            const BeamSearch::State state =
                search.run(tile, task_.beam_width, task_.commit_points, tokens, scratch);
            for (std::size_t i = 0; i < tile.rows(); ++i) {
                std::copy_n(state.code(i, 0), tokens, out + (first + i) * tokens);
            }
        });
        return codes;
    }

    [[nodiscard]] PrefixSums prefixes(torch::Tensor codes, std::set<std::int64_t> lengths) const {
        return {now_.codebooks.detach(), now_.mean.detach(), std::move(codes), std::move(lengths)};
    }
    /// Maps sums [n, d] as the model decodes them.
    [[nodiscard]] torch::Tensor decoded(const torch::Tensor& sums) const {
        const torch::Tensor strong = sums.slice(1, 0, mapped_);
        const torch::Tensor mapped = strong + torch::mm(strong, now_.map_change);
        return torch::cat({mapped, sums.slice(1, mapped_)}, 1);
    }

    /// Returns how far the tuning is, in [0, 1].
    [[nodiscard]] double share() const {
        return std::max(
            static_cast<double>(step_) / static_cast<double>(steps_),
            task_.spent ? task_.spent() : 0.0);
    }
    [[nodiscard]] static double rate_left(double share) {
        return 0.5 * (1.0 + std::cos(M_PI * share));
    }

    /// What a step compares.
    struct Drawn {
        torch::Tensor anchors; ///< Rows,
        torch::Tensor queries; ///< and queries; none where there are no queries.
        torch::Tensor rows;    ///< Some neighbours of each of them, and others.
    };

    /// Draws what steps up to the block's end compare, and chooses the symbols of that.
    void begin_block() {
        const double left = task_.rows.rows() < kManyRows ? 1.0 : rate_left(share());
        block_begin_ = step_;
        constexpr double kLeastRate = double{kBlock} / kMostBlock;
        block_end_ =
            std::min(steps_, step_ + std::lround(double{kBlock} / std::max(left, kLeastRate)));
        block_random_ = random_;
        draw_block(random_);
        std::vector<torch::Tensor> rows;
        for (const Drawn& drawn : drawn_) {
            rows.push_back(drawn.rows);
        }
        const torch::Tensor used = std::get<0>(torch::_unique(torch::cat(rows)));
        codes_.index_copy_(0, used, encode(embeddings_.index_select(0, used)));
    }
    void draw_block(std::mt19937_64& random) {
        drawn_.clear();
        const auto near = [&](const torch::Tensor& neighbours, const torch::Tensor& of) {
            return neighbours.index_select(0, of)
                .index_select(1, drawn_rows(random, kNeighboursDrawn, kNeighbours))
                .flatten();
        };
        for (std::int64_t step = block_begin_; step < block_end_; ++step) {
            Drawn drawn;
            std::vector<torch::Tensor> rows;
            const std::int64_t queries = has_queries() ? kAnchors / 2 : 0;
            drawn.anchors = drawn_rows(random, kAnchors - queries, neighbours_.size(0));
            rows.push_back(near(neighbours_, drawn.anchors));
            if (queries > 0) {
                drawn.queries = drawn_rows(random, queries, query_neighbours_.size(0));
                rows.push_back(near(query_neighbours_, drawn.queries));
            }
            rows.push_back(drawn_rows(random, kRandomRows, embeddings_.size(0)));
            drawn.rows = torch::cat(rows);
            drawn_.push_back(std::move(drawn));
        }
    }

    void descend(const Drawn& drawn) {
        const double share = this->share();
        const double warm = std::min(1.0, static_cast<double>(step_ + 1) / kWarmUp);
        for (auto& group : optimizer_->param_groups()) {
            group.options().set_lr(kLearningRate * warm * rate_left(share));
        }
        const torch::Tensor& rows = drawn.rows;
        torch::Tensor itself = drawn.anchors.unsqueeze(1) == rows.unsqueeze(0);
        torch::Tensor queries = embeddings_.index_select(0, drawn.anchors);
        if (has_queries()) {
            itself = torch::cat({itself, torch::zeros_like(itself)});
            queries = torch::cat({queries, queries_.index_select(0, drawn.queries)});
        }
        const torch::Tensor embeddings = embeddings_.index_select(0, rows);
        const torch::Tensor wanted =
            RelationGraph::edges(graph_.similarities(queries, embeddings), itself);
        const torch::Tensor weights = wanted.exp();
        const PrefixSums prefix = prefixes(
            codes_.index_select(0, rows),
            drawn_lengths(random_, task_.schedule, share, kShortest, tokens_));
        const torch::Tensor sums = prefix.sums().requires_grad_();
        const std::int64_t lengths = sums.size(0);
        const std::vector<torch::Tensor> decodings =
            decoded(sums.view({-1, width_})).view(sums.sizes()).unbind();
        torch::Tensor loss = torch::zeros({});
        for (const torch::Tensor& decoding : decodings) {
            const torch::Tensor difference =
                wanted - RelationGraph::edges(graph_.scores(queries, decoding), itself);
            loss = loss + (weights * difference).sum(1).mean() *
                              (kRelationWeight / static_cast<double>(lengths));
        }
        optimizer_->zero_grad();
        loss.backward();
        PrefixSums::Gradients gradients = prefix.gradients(
            embeddings, sums.grad(),
            kReconstructionWeight / (variance_ * static_cast<double>(tokens_ * rows.size(0))));
        now_.codebooks.mutable_grad() = std::move(gradients.codebooks);
        now_.mean.mutable_grad() = std::move(gradients.mean);
        optimizer_->step();
    }

    /// Recall@10 of what asks among the base, by prefix.
    [[nodiscard]] std::vector<HeldOutRecall> recall() const {
        const torch::NoGradGuard guard;
        const std::set<std::int64_t> lengths{
            std::max<std::int64_t>(1, tokens_ / 4), std::max<std::int64_t>(1, tokens_ / 2),
            tokens_};
        const std::vector<torch::Tensor> sums = prefixes(encode(base_), lengths).sums().unbind();
        std::vector<HeldOutRecall> out;
        for (const std::int64_t length : lengths) {
            const torch::Tensor found = best(graph_.scores(asking_, decoded(sums[out.size()])));
            out.push_back({static_cast<std::size_t>(length), share_found(found, truth_)});
        }
        return out;
    }

    const RelationTask& task_;
    std::mt19937_64 random_;
    RelationGraph graph_;
    std::int64_t tokens_;
    std::int64_t width_;
    std::int64_t mapped_; ///< First coordinates that the map changes.
    std::int64_t steps_;  ///< That there will be.
    bool is_judged_;      ///< By landmarks, while symbols are chosen.
    double variance_ = 1.0;
    torch::Tensor embeddings_;       ///< [n, d]: rows that train.
    torch::Tensor neighbours_;       ///< [anchors, 32], of the first rows.
    torch::Tensor queries_;          ///< [q, d]: ask beside rows that train.
    torch::Tensor query_neighbours_; ///< [anchors, 32], of the first queries.
    torch::Tensor held_out_;         ///< [m, d]: rows that took no part.
    torch::Tensor base_;             ///< [n, d]: where is sought; the first are the held-out rows.
    torch::Tensor asking_;           ///< [m, d]: what measures; the held-out rows, without queries.
    torch::Tensor truth_;            ///< [m, 10]: the nearest to each, in the base.
    torch::Tensor codes_;            ///< [n, tokens]; up to date where the block compares them.
    std::vector<Drawn> drawn_;       ///< By the steps of the block.
    Parameters now_;
    std::unique_ptr<torch::optim::AdamW> optimizer_;
    std::int64_t step_ = 0;
    std::int64_t block_begin_ = 0; ///< Steps [begin, end) see the same symbols.
    std::int64_t block_end_ = 0;
    std::mt19937_64 block_random_; ///< As it stood at the begin.
    double before_ = 0.0;          ///< Recall at the start,
    double most_ = 0.0;            ///< the best so far,
    std::int64_t best_step_ = 0;
    std::optional<Parameters> best_; ///< and what had it; nothing while that is the start.
};

} // namespace

bool can_relate(const RelationTask& task) noexcept {
    return task.rows.rows() >= kMinRows && task.held_out.rows() > kFound && task.rows.cols() >= 2;
}

std::optional<RelatedCodebooks> relate(const RelationTask& task) {
    if (!can_relate(task)) {
        return std::nullopt;
    }
    return RelationTrainer(task).run();
}

std::vector<HeldOutRecall> held_out_recall(
    const RelationTask& task, const RelatedCodebooks* related) {
    return RelationTrainer(task).measure(related);
}

double mean_recall(std::span<const HeldOutRecall> recall) noexcept {
    double sum = 0.0;
    for (const HeldOutRecall& point : recall) {
        sum += point.recall_at_10;
    }
    return recall.empty() ? 0.0 : sum / static_cast<double>(recall.size());
}

LearningState to_state(std::optional<RelatedCodebooks> related) {
    LearningState state;
    if (related) {
        const auto flat = [](std::vector<float>& values) {
            return StoredTensor{{values.size()}, std::move(values)};
        };
        state.arrays["codebooks"] = flat(related->codebooks);
        state.arrays["mean"] = flat(related->mean);
        state.arrays["decode_map"] = flat(related->decode_map);
        state.numbers = {
            {"recall_before", related->recall_before}, {"recall_after", related->recall_after}};
    }
    return state;
}

std::optional<RelatedCodebooks> related_from(LearningState state, const RelationTask& task) {
    if (state.arrays.empty()) {
        return std::nullopt;
    }
    const auto take = [&](const std::string& name, std::size_t count) {
        std::vector<float>& values = state.arrays[name].values;
        if (values.size() != count ||
            !std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
            fail_corrupt_state(name);
        }
        return std::move(values);
    };
    const std::size_t d = task.rows.cols();
    return RelatedCodebooks{
        .codebooks = take("codebooks", task.codebooks.size()),
        .mean = take("mean", d),
        .decode_map = take("decode_map", d * d),
        .recall_before = number_of(state, "recall_before"),
        .recall_after = number_of(state, "recall_after")};
}

} // namespace arfc
