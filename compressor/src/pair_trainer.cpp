#include "pair_trainer.h"

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <sstream>
#include <utility>

#include "arfc/base/error.h"
#include "learning_tensors.h"
#include "pair_graph.h"
#include "relation_graph.h"

namespace arfc {
namespace {

constexpr std::size_t kMinPairs = 100;  // Fewer overfit before they gain,
constexpr std::size_t kMinHeldOut = 50; // and of fewer held-out queries no gain can be told.
constexpr std::size_t kMinRows = 100;   // That have neighbours to keep.
constexpr std::size_t kMaxRows = 16384; // Whose neighbours are sought, among themselves.
constexpr std::size_t kMaxGallery = 8192;
constexpr std::int64_t kMeasurements = 6;    // Of the steps.
constexpr std::int64_t kBatch = 256;         // Pairs of a step,
constexpr std::int64_t kUnpaired = 512;      // rows without a pair that stand against them,
constexpr std::int64_t kAnchors = 96;        // rows that keep their neighbours,
constexpr std::int64_t kNeighboursDrawn = 8; // so many of them at a time,
constexpr std::int64_t kRandomRows = 384;    // among so many others.
// A row without a pair may belong with the query all the same. 1 instead of .3 gains .4 points more
// of seen kinds (banking77) and loses .5 of others.
constexpr double kUnpairedWeight = 0.3;
constexpr double kTemperature = 0.05; // Of cosines.
constexpr std::int64_t kHidden = 512; // Units; half as many: .6 points less of seen kinds
                                      // (banking77).
constexpr double kLearningRate = 1e-3;
// What weights of 1 out of the units give is about as long as a row.
const double kOutputScale = 2.0 / std::sqrt(static_cast<double>(kHidden));
constexpr double kUnpairedRelationWeight = 3.0;
constexpr double kPairedRelationWeight = 0.3;
constexpr std::int64_t kVoters = 10;
constexpr double kSignificance = 2.5; // Standard errors of a gain that is no chance,
constexpr double kTolerance = 2.0;    // and of a loss that may be.

torch::Tensor indices(const std::vector<std::size_t>& values) {
    torch::Tensor out = torch::empty({static_cast<std::int64_t>(values.size())}, torch::kInt64);
    std::copy(values.begin(), values.end(), out.data_ptr<std::int64_t>());
    return out;
}

/// How held-out queries are answered.
struct Answers {
    std::vector<double> right; ///< 1 or 0; seen ones, then unseen ones.
    std::vector<double> share; ///< Of the voters, those that belong with the query.
    std::size_t seen = 0;

    [[nodiscard]] std::span<const double> of(
        const std::vector<double>& values, bool seen_ones) const {
        return seen_ones ? std::span(values).first(seen) : std::span(values).subspan(seen);
    }
    [[nodiscard]] double accuracy(bool seen_ones) const { return mean(of(right, seen_ones)); }
    [[nodiscard]] double voters(bool seen_ones) const { return mean(of(share, seen_ones)); }

    /// Returns by how many standard errors these are better than `before`; 0 where none differ.
    /// Voters tell a gain from fewer queries than answers do: ten a query instead of one.
    [[nodiscard]] double gain(const Answers& before, bool seen_ones) const {
        return significance(of(share, seen_ones), before.of(before.share, seen_ones));
    }
    [[nodiscard]] double gain_of_answers(const Answers& before, bool seen_ones) const {
        return significance(of(right, seen_ones), before.of(before.right, seen_ones));
    }

  private:
    [[nodiscard]] static double mean(std::span<const double> values) {
        return values.empty() ? 0.0
                              : std::accumulate(values.begin(), values.end(), 0.0) /
                                    static_cast<double>(values.size());
    }
    [[nodiscard]] static double significance(
        std::span<const double> now, std::span<const double> before) {
        double difference = 0.0;
        double squares = 0.0;
        for (std::size_t i = 0; i < now.size(); ++i) {
            difference += now[i] - before[i];
            squares += (now[i] - before[i]) * (now[i] - before[i]);
        }
        return squares > 0.0 ? difference / std::sqrt(squares) : 0.0;
    }
};

/// Places among a map's weights, and the names that states have for them.
enum Weight : std::size_t { kIn, kBias, kOut };
constexpr std::array<const char*, 3> kNames = {"hidden", "hidden_bias", "output"};

/// The rows and pairs of one course of steps.
struct Material {
    std::vector<std::size_t> pairs; ///< Places among the graph's.
    torch::Tensor unpaired;         ///< Places in the table of rows that stand against them.
    torch::Tensor relation_weights; ///< [rows].
};

class PairTrainer {
  public:
    explicit PairTrainer(const PairTask& task)
        : task_(task), graph_(task.queries, task.relevant),
          width_(static_cast<std::int64_t>(task.rows.cols())), random_(task.seed),
          relations_(task.metric) {}

    PairMap run() {
        held_out_ = hold_out(graph_, random_);
        PairMap learned;
        learned.report.pairs = graph_.pairs().size();
        if (!set_up()) {
            return learned;
        }
        const Answers before = measure({});
        learned.report.seen = {before.seen, before.accuracy(true), before.accuracy(true)};
        learned.report.unseen = {
            before.right.size() - before.seen, before.accuracy(false), before.accuracy(false)};
        begin();
        if (task_.begun) {
            restore(*task_.begun);
        }
        if (!selected_) {
            select(before);
        }
        if (best_.empty()) {
            return learned;
        }
        const Answers after = measure(best_);
        learned.report.is_kept = true;
        learned.report.seen.after = after.accuracy(true);
        learned.report.unseen.after = after.accuracy(false);
        learned.entry = weights_of(learn_from_all());
        return learned;
    }

  private:
    /// Makes the table of distinct rows, nodes first. @returns false: there is too little to learn.
    bool set_up() {
        std::vector<std::size_t> trained;
        std::vector<std::size_t> all(graph_.pairs().size());
        std::iota(all.begin(), all.end(), std::size_t{0});
        std::ranges::copy_if(all, std::back_inserter(trained), [&](std::size_t i) {
            const PairGraph::Pair& pair = graph_.pairs()[i];
            return !held_out_.is_hidden[pair.query] && !held_out_.is_hidden[pair.row] &&
                   pair.query != pair.row;
        });
        choose_queries();
        if (width_ < 2 || task_.rows.rows() < kMinRows || trained.size() < kMinPairs ||
            queries_.size() < kMinHeldOut) {
            return false;
        }
        std::vector<float> table;
        const auto width = static_cast<std::size_t>(width_);
        for (std::size_t node = 0; node < graph_.nodes(); ++node) {
            table.insert(table.end(), graph_.values(node), graph_.values(node) + width);
        }
        std::vector<std::size_t> rows; // Places in the table of what keeps its neighbours.
        std::vector<std::size_t> unpaired;
        for (std::size_t i = 0; i < std::min(kMaxRows, task_.rows.rows()); ++i) {
            const std::span<const float> row = task_.rows.row(i);
            const std::optional<std::size_t> node = graph_.find(row.data());
            rows.push_back(node.value_or(table.size() / width));
            if (!node) {
                unpaired.push_back(rows.back());
                table.insert(table.end(), row.begin(), row.end());
            }
        }
        table_ = tensor_of(
            std::span<const float>(table),
            {static_cast<std::int64_t>(table.size() / width), width_});
        scale_ = std::sqrt(table_.square().sum(1).mean().item<double>());
        scale_ = scale_ > 0.0 ? scale_ : 1.0;
        table_ /= scale_;
        rows_ = indices(rows);
        selection_ = material(std::move(trained), unpaired, rows, true);
        all_ = material(std::move(all), unpaired, rows, false);
        find_neighbours();
        return true;
    }

    /// @param hidden  Whether kinds that are held out are as if they had no pair.
    [[nodiscard]] Material material(
        std::vector<std::size_t> pairs, std::vector<std::size_t> unpaired,
        const std::vector<std::size_t>& rows, bool hidden) const {
        torch::Tensor weights = torch::empty({static_cast<std::int64_t>(rows.size())});
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const bool is_paired =
                rows[i] < graph_.nodes() && !(hidden && held_out_.is_unseen[rows[i]]);
            weights.data_ptr<float>()[i] =
                static_cast<float>(is_paired ? kPairedRelationWeight : kUnpairedRelationWeight);
        }
        for (const std::size_t node : graph_.rows()) {
            if (hidden && held_out_.is_unseen[node]) {
                unpaired.push_back(node);
            }
        }
        return {std::move(pairs), indices(unpaired), weights};
    }

    /// Chooses held-out queries that something belongs with, and the rows that they ask.
    void choose_queries() {
        std::vector<std::size_t> all = graph_.rows();
        for (std::size_t i = 0; i + 1 < all.size(); ++i) {
            std::swap(all[i], all[i + random_() % (all.size() - i)]);
        }
        if (!graph_.has_kinds()) { // What belongs with a query is few rows: they come first.
            std::vector<bool> wanted(graph_.nodes(), false);
            for (const PairGraph::Pair& pair : graph_.pairs()) {
                wanted[pair.row] = wanted[pair.row] || held_out_.is_hidden[pair.query];
            }
            std::ranges::stable_partition(all, [&](std::size_t node) { return wanted[node]; });
        }
        all.resize(std::min(kMaxGallery, all.size()));
        gallery_nodes_ = std::move(all);
        gallery_ = indices(gallery_nodes_);
        std::map<std::size_t, std::size_t> counts; // Of a kind's rows in the gallery.
        for (const std::size_t node : gallery_nodes_) {
            ++counts[graph_.kind(node)];
        }
        for (const auto* const queries : {&held_out_.seen, &held_out_.unseen}) {
            for (const std::size_t query : *queries) {
                std::size_t count = 0;
                if (graph_.has_kinds()) {
                    count = counts[graph_.kind(query)] -
                            static_cast<std::size_t>(std::ranges::count(gallery_nodes_, query));
                } else {
                    count = static_cast<std::size_t>(
                        std::ranges::count_if(gallery_nodes_, [&](std::size_t node) {
                            return node != query && graph_.related(query, node);
                        }));
                }
                if (count > 0) {
                    queries_.push_back(query);
                    voters_.push_back(std::min(kVoters, static_cast<std::int64_t>(count)));
                }
            }
            seen_ = queries == &held_out_.seen ? queries_.size() : seen_;
        }
    }

    void find_neighbours() {
        const torch::Tensor rows = table_.index_select(0, rows_);
        neighbours_ = relations_.nearest_rows(rows, task_.go_on);
        relations_.fit_scale(rows, neighbours_);
    }

    /// Maps rows as the model will. @param weights  Of the perceptron; empty: none.
    [[nodiscard]] torch::Tensor mapped(
        const torch::Tensor& rows, const std::vector<torch::Tensor>& weights) const {
        torch::Tensor out = rows;
        if (!weights.empty()) {
            const torch::Tensor units =
                torch::relu(torch::addmm(weights[kBias], rows, weights[kIn]));
            out = torch::addmm(rows, units, weights[kOut], 1.0, kOutputScale);
        }
        return task_.metric == Metric::kCosine ? out / out.norm(2, 1, true).clamp_min(1e-12) : out;
    }

    /// Answers held-out queries by their nearest rows: ten vote for their kinds, or as many as
    /// belong with the query where those are fewer; of equal counts the nearer rows' wins.
    [[nodiscard]] Answers measure(const std::vector<torch::Tensor>& map) const {
        const torch::NoGradGuard guard;
        const torch::Tensor rows = mapped(table_.index_select(0, gallery_), map);
        Answers answers{.right = {}, .share = {}, .seen = seen_};
        constexpr std::size_t kTogether = 256;
        for (std::size_t first = 0; first < queries_.size(); first += kTogether) {
            const std::size_t count = std::min(kTogether, queries_.size() - first);
            const auto begin = queries_.begin() + static_cast<std::ptrdiff_t>(first);
            const torch::Tensor asked =
                indices({begin, begin + static_cast<std::ptrdiff_t>(count)});
            torch::Tensor scores =
                relations_.similarities(mapped(table_.index_select(0, asked), map), rows);
            scores.masked_fill_(asked.unsqueeze(1) == gallery_.unsqueeze(0), -INFINITY);
            const torch::Tensor nearest =
                std::get<1>(scores.topk(std::min(kVoters, scores.size(1)), 1));
            for (std::size_t i = 0; i < count; ++i) {
                const std::span<const std::int64_t> voters(
                    nearest.data_ptr<std::int64_t>() +
                        static_cast<std::int64_t>(i) * nearest.size(1),
                    static_cast<std::size_t>(voters_[first + i]));
                const std::size_t query = queries_[first + i];
                const auto belongs = [&](std::int64_t place) {
                    return graph_.related(query, gallery_nodes_[static_cast<std::size_t>(place)]);
                };
                answers.right.push_back(graph_.related(query, elected(voters)) ? 1.0 : 0.0);
                answers.share.push_back(
                    static_cast<double>(std::ranges::count_if(voters, belongs)) /
                    static_cast<double>(voters.size()));
            }
        }
        return answers;
    }
    /// @param voters  Places in the gallery, the nearest first. @returns a node of the kind
    /// elected.
    [[nodiscard]] std::size_t elected(std::span<const std::int64_t> voters) const {
        const auto node_at = [&](std::int64_t place) {
            return gallery_nodes_[static_cast<std::size_t>(place)];
        };
        std::map<std::size_t, std::size_t> votes;
        for (const std::int64_t place : voters) {
            ++votes[graph_.kind(node_at(place))];
        }
        std::size_t winner = 0;
        std::size_t most = 0;
        for (const std::int64_t place : voters) {
            if (const std::size_t count = votes[graph_.kind(node_at(place))]; count > most) {
                most = count;
                winner = node_at(place);
            }
        }
        return winner;
    }

    /// Begins a course of steps at the identity.
    void begin() {
        parameters_ = {
            drawn_normal(random_, {width_, kHidden}, 1.0F), torch::zeros({kHidden}),
            torch::zeros({kHidden, width_})};
        for (torch::Tensor& parameter : parameters_) {
            parameter.requires_grad_();
        }
        optimizer_ = std::make_unique<torch::optim::AdamW>(
            parameters_, torch::optim::AdamWOptions(kLearningRate).weight_decay(0.0));
        step_ = 0;
    }
    [[nodiscard]] std::vector<torch::Tensor> copied() const {
        std::vector<torch::Tensor> out;
        std::ranges::transform(parameters_, std::back_inserter(out), [](const torch::Tensor& of) {
            return of.detach().clone();
        });
        return out;
    }
    /// Returns what takes rows as they were given, instead of at the scale of the table.
    [[nodiscard]] PerceptronWeights weights_of(const std::vector<torch::Tensor>& weights) const {
        const torch::NoGradGuard guard;
        return {
            .hidden = values_of((weights[kIn] / scale_).t()),
            .hidden_bias = values_of(weights[kBias]),
            .output = values_of((weights[kOut] * (kOutputScale * scale_)).t())};
    }

    /// Descends on what is not held out and keeps the map that is best for what is.
    void select(const Answers& before) {
        const auto every = std::max<std::int64_t>(1, task_.steps / kMeasurements);
        for (; step_ <= task_.steps; ++step_) {
            offer();
            if (step_ > 0 && step_ % every == 0) {
                consider(before, measure(parameters_));
            }
            if (step_ == task_.steps || !task_.go_on()) {
                break;
            }
            descend(selection_, 2.0); // The other half of the time is for all pairs.
        }
        selected_ = true;
        begin();
    }
    void consider(const Answers& before, const Answers& now) {
        const bool has_seen = before.seen >= kMinHeldOut;
        if (now.gain(before, has_seen) < kSignificance ||
            now.accuracy(has_seen) < before.accuracy(has_seen) || now.voters(has_seen) <= most_) {
            return;
        }
        if (has_seen &&
            std::min(now.gain(before, false), now.gain_of_answers(before, false)) < -kTolerance) {
            return;
        }
        most_ = now.voters(has_seen);
        best_step_ = step_;
        best_ = copied();
    }

    /// Goes the way to the best step again with every pair, kinds that were held out included.
    /// @returns the map; that of the first way where time has run out.
    std::vector<torch::Tensor> learn_from_all() {
        for (; step_ < best_step_; ++step_) {
            offer();
            if (!task_.go_on()) {
                return best_;
            }
            descend(all_, 1.0);
        }
        return parameters_;
    }

    /// @param haste  How many times as fast as the time for all this the steps' time runs.
    void descend(const Material& material, double haste) {
        const double share = std::max(
            static_cast<double>(step_) / static_cast<double>(task_.steps),
            task_.spent ? std::min(1.0, haste * task_.spent()) : 0.0);
        for (auto& group : optimizer_->param_groups()) {
            group.options().set_lr(kLearningRate * 0.5 * (1.0 + std::cos(M_PI * share)));
        }
        const torch::Tensor loss = contrast(material) + relation(material);
        optimizer_->zero_grad();
        loss.backward();
        optimizer_->step();
    }

    /// That pairs are apart and rows without one are not where they were.
    [[nodiscard]] torch::Tensor contrast(const Material& material) {
        std::vector<std::size_t> queries;
        std::vector<std::size_t> rows;
        for (std::int64_t i = 0; i < kBatch; ++i) {
            const PairGraph::Pair& pair =
                graph_.pairs()[material.pairs[random_() % material.pairs.size()]];
            queries.push_back(pair.query);
            rows.push_back(pair.row);
        }
        torch::Tensor others = torch::zeros({kBatch, kBatch}, torch::kBool);
        auto* const is_other = others.data_ptr<bool>(); // Belongs with the query, too.
        for (std::size_t i = 0; i < queries.size(); ++i) {
            for (std::size_t j = 0; j < rows.size(); ++j) {
                is_other[i * rows.size() + j] =
                    i != j && (rows[i] == rows[j] || queries[i] == queries[j] ||
                               graph_.related(queries[i], rows[j]));
            }
        }
        const torch::Tensor asked = mapped(table_.index_select(0, indices(queries)), parameters_);
        torch::Tensor edges = relations_.similarities(
            asked, mapped(table_.index_select(0, indices(rows)), parameters_));
        edges = (edges / kTemperature).masked_fill(others, -1e4);
        torch::Tensor moved = torch::zeros({});
        if (material.unpaired.size(0) > 0) {
            const torch::Tensor unpaired = table_.index_select(
                0, material.unpaired.index_select(0, drawn(kUnpaired, material.unpaired.size(0))));
            const torch::Tensor now = mapped(unpaired, parameters_);
            edges = torch::cat(
                {edges,
                 relations_.similarities(asked, now) / kTemperature + std::log(kUnpairedWeight)},
                1);
            moved = (now - unpaired).square().sum(1).mean();
        }
        return moved - torch::log_softmax(edges, 1).diagonal().mean();
    }

    /// How far the graph of neighbours is from what it was: the listwise loss of relate().
    [[nodiscard]] torch::Tensor relation(const Material& material) {
        const torch::Tensor anchors = drawn(kAnchors, neighbours_.size(0));
        const torch::Tensor near =
            neighbours_.index_select(0, anchors)
                .index_select(1, drawn(kNeighboursDrawn, neighbours_.size(1)))
                .flatten();
        const torch::Tensor others = torch::cat({near, drawn(kRandomRows, rows_.size(0))});
        const torch::Tensor itself = anchors.unsqueeze(1) == others.unsqueeze(0);
        const torch::Tensor from = table_.index_select(0, rows_.index_select(0, anchors));
        const torch::Tensor to = table_.index_select(0, rows_.index_select(0, others));
        const torch::Tensor wanted =
            RelationGraph::edges(relations_.similarities(from, to), itself);
        const torch::Tensor found = RelationGraph::edges(
            relations_.similarities(mapped(from, parameters_), mapped(to, parameters_)), itself);
        const torch::Tensor apart = (wanted.exp() * (wanted - found)).sum(1);
        return (material.relation_weights.index_select(0, anchors) * apart).mean();
    }

    [[nodiscard]] torch::Tensor drawn(std::int64_t count, std::int64_t below) {
        return drawn_rows(random_, count, below);
    }

    void offer() {
        if (task_.keep && (step_ > 0 || selected_)) {
            task_.keep([this] { return state(); });
        }
    }
    /// Tells where the learning stands before a step: all that does not follow from the task.
    [[nodiscard]] LearningState state() const {
        LearningState out;
        out.numbers = {
            {"selected", selected_ ? 1.0 : 0.0},
            {"step", static_cast<double>(step_)},
            {"best_step", static_cast<double>(best_step_)},
            {"most", most_}};
        std::ostringstream random;
        random << random_;
        out.random = random.str();
        for (std::size_t i = 0; i < parameters_.size(); ++i) {
            if (step_ > 0) {
                store_parameter(out, kNames[i], parameters_[i], *optimizer_);
            } else { // The optimiser has nothing of it yet.
                out.arrays[kNames[i]] = stored(parameters_[i].detach());
            }
            if (!best_.empty()) {
                out.arrays[std::string("best.") + kNames[i]] = stored(best_[i]);
            }
        }
        return out;
    }
    void restore(const LearningState& state) {
        selected_ = number_of(state, "selected") > 0.0;
        step_ = static_cast<std::int64_t>(number_of(state, "step"));
        best_step_ = static_cast<std::int64_t>(number_of(state, "best_step"));
        most_ = number_of(state, "most");
        std::istringstream random(state.random);
        if (!(random >> random_) || step_ < 0 || step_ > task_.steps || best_step_ < 0 ||
            best_step_ > task_.steps) {
            fail_corrupt_state("random");
        }
        for (std::size_t i = 0; i < parameters_.size(); ++i) {
            const std::vector<std::int64_t> shape = parameters_[i].sizes().vec();
            if (step_ > 0) {
                restore_parameter(state, kNames[i], parameters_[i], *optimizer_, step_);
            } else {
                const torch::NoGradGuard guard;
                parameters_[i].copy_(tensor_of(state, kNames[i], shape));
            }
            if (best_step_ > 0) {
                best_.push_back(tensor_of(state, std::string("best.") + kNames[i], shape));
            }
        }
    }

    const PairTask& task_;
    PairGraph graph_;
    std::int64_t width_;
    std::mt19937_64 random_;
    HeldOutNodes held_out_;
    RelationGraph relations_;
    torch::Tensor table_;                    ///< [nodes and rows that are none, d].
    torch::Tensor rows_;                     ///< [rows]: their places in the table.
    torch::Tensor neighbours_;               ///< [rows, 32]: places among the rows.
    std::vector<std::size_t> queries_;       ///< Held-out nodes, seen kinds first.
    std::vector<std::int64_t> voters_;       ///< Of each of them.
    std::size_t seen_ = 0;                   ///< Queries of seen kinds.
    std::vector<std::size_t> gallery_nodes_; ///< What they ask.
    torch::Tensor gallery_;
    Material selection_;
    Material all_;
    double scale_ = 1.0; ///< Length of rows, root of the mean square; the table's is 1.
    std::vector<torch::Tensor> parameters_; ///< kIn [d, units], kBias [units], kOut [units, d].
    std::unique_ptr<torch::optim::AdamW> optimizer_;
    std::int64_t step_ = 0;
    bool selected_ = false; ///< Whether the best step is known.
    double most_ = 0.0;     ///< Share of right voters at the best step,
    std::int64_t best_step_ = 0;
    std::vector<torch::Tensor> best_; ///< and its parameters; empty while none is better than the
                                      ///< identity.
};

} // namespace

PairMap learn_pairs(const PairTask& task) {
    return PairTrainer(task).run();
}

std::vector<std::size_t> drawn_pairs(std::size_t pairs, std::uint64_t seed) {
    std::vector<std::size_t> order(pairs);
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (pairs <= kMaxTrainingPairs) {
        return order;
    }
    std::mt19937_64 random(seed);
    for (std::size_t i = 0; i < kMaxTrainingPairs; ++i) {
        std::swap(order[i], order[i + random() % (pairs - i)]);
    }
    order.resize(kMaxTrainingPairs);
    return order;
}

LearningState to_state(PairMap learned) {
    LearningState state;
    keep_perceptron(state, std::move(learned.entry));
    const PairReport& report = learned.report;
    state.numbers = {
        {"pairs", static_cast<double>(report.pairs)},
        {"seen", static_cast<double>(report.seen.queries)},
        {"seen.before", report.seen.before},
        {"seen.after", report.seen.after},
        {"unseen", static_cast<double>(report.unseen.queries)},
        {"unseen.before", report.unseen.before},
        {"unseen.after", report.unseen.after}};
    return state;
}

PairMap pair_map_from(LearningState state, const PairTask& task) {
    PairMap learned;
    PairReport& report = learned.report;
    report.pairs = static_cast<std::size_t>(number_of(state, "pairs"));
    const auto accuracy = [&](const std::string& name) {
        return PairAccuracy{
            static_cast<std::size_t>(number_of(state, name)), number_of(state, name + ".before"),
            number_of(state, name + ".after")};
    };
    report.seen = accuracy("seen");
    report.unseen = accuracy("unseen");
    if (state.arrays.empty()) {
        return learned;
    }
    learned.entry = perceptron_from(state, task.rows.cols());
    if (learned.entry.empty()) {
        fail_corrupt_state("hidden");
    }
    report.is_kept = true;
    return learned;
}

MapMoments map_moments(MatrixView<const float> rows, MatrixView<const float> mapped) {
    const torch::InferenceMode guard;
    const auto shared = [](MatrixView<const float> of) { // There may be gigabytes of them.
        return torch::from_blob(
            const_cast<float*>(of.data()),
            {static_cast<std::int64_t>(of.rows()), static_cast<std::int64_t>(of.cols())},
            torch::kFloat32);
    };
    const torch::Tensor x = shared(rows);
    const torch::Tensor y = shared(mapped);
    const auto n = static_cast<double>(rows.rows());
    const auto d = static_cast<double>(rows.cols());
    const double more = d / 128.0;
    const torch::Tensor even = torch::eye(y.size(1)) * (y.square().sum().item<double>() / (n * d));
    const auto moments = [&](const torch::Tensor& from) {
        return values_of((torch::mm(from.t(), y) + more * even) / (n + more));
    };
    return {.across = moments(x), .within = moments(y)};
}

std::vector<float> inverse_map(const MapMoments& moments, double noise) {
    const torch::InferenceMode guard;
    const auto d = static_cast<std::int64_t>(std::llround(std::sqrt(moments.within.size())));
    const auto matrix = [&](const std::vector<float>& values) {
        return tensor_of(std::span<const float>(values), {d, d}).to(torch::kFloat64);
    };
    torch::Tensor within = matrix(moments.within);
    const double least = 1e-6 * within.diagonal().mean().item<double>();
    within = within + std::max(noise, least) * torch::eye(d, torch::kFloat64);
    // across * within^-1, of which the second is symmetric.
    return values_of(
        torch::linalg_solve(within, matrix(moments.across), false).to(torch::kFloat32));
}

} // namespace arfc
