#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/matrix_view.h"
#include "arfc/base/metric.h"
#include "arfc/base/progress.h"
#include "arfc/compressor/drift.h"

namespace arfc {

/// Symbols that one token (one byte) tells apart; the width of a query's table per token.
inline constexpr std::size_t kSymbols = 256;

/// Most rows that training uses, those that it holds out for measuring included: of more it draws
/// this many at random, and fewer where a time budget bears no more.
inline constexpr std::size_t kMaxTrainingRows = (std::size_t{1} << 20U) + 1000;

/// Most pairs that training uses: of more it draws this many at random.
inline constexpr std::size_t kMaxTrainingPairs = 65536;

/// Most queries that training uses: of more it draws this many at random.
inline constexpr std::size_t kMaxTrainingQueries = 65536;

/// The fewest queries that training takes: a fifth of them, at most 1000, measures.
inline constexpr std::size_t kMinTrainingQueries = 100;

/// At which prefixes relations are compared while they are learned: lengths, as shares of the
/// longest one, are drawn from a Beta distribution whose mean moves evenly with the training.
/// benchmarks/progressive_lengths.py measures others; docs/quality.md has what they gain.
///
/// Source: the progressive training of arXiv:2602.11494.
struct PrefixSchedule {
    double first_mean = 0.75;   ///< Where the training begins, in (0, 1): long prefixes,
    double last_mean = 0.25;    ///< and where it ends: short ones.
    double concentration = 4.0; ///< a + b, finite, > 0: the larger, the closer to the mean.
};

/// Chooses what is trained. The defaults are what a user with text embeddings wants.
struct TrainOptions {
    std::string kind = "residual";   ///< A row of compressor_kinds().
    std::size_t code_bytes = 96;     ///< Longest code, in bytes, in [1, 1024]: 16x on 384 floats.
    Metric metric = Metric::kCosine; ///< What scores approximate.
    std::optional<double> time_budget_s; ///< Wall seconds; best effort within it. Nothing: until
                                         ///< converged.
    std::uint64_t seed = 0; ///< Same rows, options and seed: same model, unless the budget cut it
                            ///< short.
    bool relations = true;  ///< Fine-tune codebooks on the graph of neighbours: better recall for
                            ///< longer training.
    PrefixSchedule prefix_schedule; ///< Of relations.
    bool features = false; ///< Learn float features, too: Compressor::features. Off, because they
                           ///< take about as long as all the rest, and most users store codes.
    bool compact = false;  ///< A smaller model: 16 tokens over the whole space however many the
                           ///< rows are, and weights rounded to float16, which files keep as that.
                           ///< On 384 floats and 96 bytes 5.8 MB instead of 19 from 32,768 rows
                           ///< on; recall of 16 to 48 bytes is a little lower there.
    std::string device = "auto";      ///< As in Compressor::open.
    ProgressFunction progress;        ///< Called at least twice a second of work on ordinary sizes.
    std::filesystem::path checkpoint; ///< Directory for what was learned so far, made when it is
                                      ///< first written; empty: none is kept.
    double checkpoint_every_s = 60; ///< Seconds between two of them, at least 0. They fall between
                                    ///< codebooks, or steps of the fine-tuning; ending early, by
                                    ///< `progress` or an error, writes one too.
    bool resume = false; ///< Go on from the checkpoint. Rows and options must be those it was made
                         ///< with, device, time budget, threads and, until relations begin, the
                         ///< schedule of prefixes aside. Without a budget, on as
                         ///< many threads, the model is the one that no interruption would have
                         ///< made; a budget counts the seconds spent before.
    /// Rows of the kind that collections will be asked with, where that is another kind than they
    /// hold: questions beside answers, captions beside pictures. [m, d], m >= kMinTrainingQueries,
    /// finite, and not zero under cosine; empty: what is stored stands for what asks. Relations
    /// then keep the order of rows for them, as well as for rows, and held-out ones of them
    /// measure. Nothing needs to be known of which rows answer them. They serve relations alone,
    /// and so need them, and d <= 4096.
    MatrixView<const float> queries;
    /// Rows that the user's own task calls close: row i of both, [p, d] each, any p, finite, and
    /// not zero under cosine; empty: none. A pair's query may be a row, as with two rows of one
    /// class. Where held-out pairs show a gain, scores approximate the metric between rows and
    /// queries that a small network moves, as pairs taught; else pairs change nothing. They need
    /// not be among the rows, and serve only pairs: give the rows of which collections are made
    /// beside them. Needs d <= 4096.
    MatrixView<const float> pair_queries;
    MatrixView<const float> pair_rows;
};

/// Recall@10 of scoring by a prefix, against exact neighbours, for queries that were not trained
/// on: held-out rows, or held-out queries where queries were given.
struct HeldOutRecall {
    std::size_t bytes;   ///< Prefix length.
    double recall_at_10; ///< In [0, 1].
};

/// How often held-out queries are answered with rows that belong with them, by uncompressed rows:
/// the ten nearest vote for what they are connected with through pairs, or as many as belong with
/// the query where those are fewer.
struct PairAccuracy {
    std::size_t queries = 0; ///< Held out; 0: there were too few to spare any.
    double before = 0;       ///< Share answered rightly with rows as they are, in [0, 1],
    double after = 0;        ///< and mapped as the other pairs taught.
};

/// What became of pairs.
struct PairReport {
    std::size_t pairs = 0; ///< That took part.
    bool is_kept = false;  ///< Whether they gained, so that the model maps rows.
    PairAccuracy seen;     ///< Queries connected with pairs that trained.
    PairAccuracy unseen;   ///< Queries of whole components of the pairs' graph that did not.
};

/// What a part of the training does for codes, measured with the parts that were kept before it.
struct PartReport {
    std::string part;     ///< "codebooks", "landmarks", "landmarks of queries" or "relations".
    bool is_kept = false; ///< It is where held-out rows gain, mean over the lengths.
    std::vector<HeldOutRecall> recall; ///< Of held-out rows among themselves and some that trained,
                                       ///< at a quarter, half and all of the whole-space tokens;
                                       ///< ascending. Empty: it found nothing better to measure.
};

/// What training did; kept in config.json.
struct TrainReport {
    std::size_t trained_rows = 0;  ///< Rows that shaped the model.
    std::size_t held_out_rows = 0; ///< Rows set aside for measuring; 0 where there were too few to
                                   ///< spare.
    double seconds = 0;            ///< Wall time.
    bool stopped_by_budget = false;
    std::vector<HeldOutRecall> recall;      ///< Ascending bytes; empty where nothing was held out.
    std::vector<HeldOutResidual> residuals; ///< Of held-out rows, ascending bytes, the longest code
                                            ///< last; empty where nothing was held out, or by an
                                            ///< earlier version.
    std::optional<PairReport> pairs;        ///< Nothing where none were given.
    std::vector<PartReport> parts;          ///< In the order of training; empty where there was
                                            ///< nothing to choose, or by an earlier version.
};

/// A model as files: what save() writes and open() reads.
struct ModelFiles {
    std::string config;  ///< config.json, UTF-8.
    std::string weights; ///< model.safetensors.
};

/// Turns embeddings into token sequences of which every prefix is itself a coarser code.
///
/// A row of `dim()` floats becomes `code_bytes()` one-byte tokens. The ratio is
/// `dim() * sizeof(float) / bytes kept`, dimensionless: one stored code serves every higher ratio,
/// and nothing is encoded twice. A model is complete and immutable: a row's code depends on the row
/// alone and a row's score on its code and the query alone, bit for bit, in every batch, order and
/// thread count. Const members may be called from many threads.
///
/// Scores are sums of table look-ups, one table of kSymbols floats per token and query, added in
/// token order:
///
///     sum   = query_terms.bias + tables[0][code[0]] + tables[1][code[1]] + ...
///     score = combine(metric(), sum, row_term, query_terms.squared_norm)
///
/// where `row_term` corrects for the length of the row's reconstruction and is a function of the
/// prefix. The sum over a longer prefix continues the sum over a shorter one.
///
/// Source: the Arbitrary Ratio Compressor of arXiv:2602.11494; docs/sources.md lists departures.
class Compressor {
  public:
    /// Learns a model from rows.
    /// @param embeddings  [n, d] float32, finite, n >= 1, d in [1, 65536]. Under cosine rows are
    ///                    L2-normalised first and must not be zero. Fewer rows than symbols give a
    ///                    valid, poorer model.
    /// @throws Error      kInvalidArgument: a shape, an option or a value is out of range.
    ///                    kUnsupported: the device is not visible, or pairs or queries of more than
    ///                    4096 floats a row. kCancelled: `progress` said so.
    ///                    kResourceExhausted: memory ran out.
    static std::unique_ptr<Compressor> train(
        MatrixView<const float> embeddings, const TrainOptions& options);

    /// Removes the checkpoint of a training whose model has been saved, and its directory where
    /// that is then empty. There need not be one. @throws Error  kIo.
    static void remove_checkpoint(const std::filesystem::path& directory);

    /// Returns whether a training left a checkpoint in the directory.
    [[nodiscard]] static bool has_checkpoint(const std::filesystem::path& directory);

    /// Opens a model directory written by save().
    /// @param directory  Holds `config.json`, `model.safetensors` and `manifest.json`; opened
    ///                   read-only.
    /// @param device     "cpu", "cuda:<n>", or "auto": the first visible GPU that this kind uses,
    ///                   else the CPU.
    /// @throws Error     kNotFound: no such directory. kCorruption: checksum or shape mismatch.
    ///                   kUnsupported: a newer format, an unknown kind, or `device` is not visible.
    static std::unique_ptr<Compressor> open(
        const std::filesystem::path& directory, std::string_view device = "auto");

    /// Opens a model from its files' bytes, as open() does.
    static std::unique_ptr<Compressor> open(
        const ModelFiles& files, std::string_view device = "auto");

    Compressor() = default;
    Compressor(const Compressor&) = delete;
    Compressor& operator=(const Compressor&) = delete;
    virtual ~Compressor() = default;

    [[nodiscard]] virtual std::size_t dim() const noexcept = 0; ///< Embedding width, in floats.
    [[nodiscard]] virtual std::size_t code_bytes() const noexcept = 0; ///< Longest code, in bytes
                                                                       ///< (= tokens).
    [[nodiscard]] virtual Metric metric() const noexcept = 0;          ///< What scores approximate.
    [[nodiscard]] virtual const TrainReport& report() const noexcept = 0;

    /// Returns the model's files; equal models give equal bytes.
    [[nodiscard]] virtual ModelFiles files() const = 0;

    /// Returns the model's identity: a function of what encodes, scores and makes features, as 64
    /// hexadecimal digits.
    [[nodiscard]] virtual const std::string& id() const noexcept = 0;

    /// Returns the size of the weights, in bytes: what one resident model costs, whatever the row
    /// count.
    [[nodiscard]] virtual std::size_t model_bytes() const noexcept = 0;

    /// Writes the model directory; an existing model there is replaced, file by file, manifest
    /// last.
    /// @throws Error  kIo, kResourceExhausted.
    void save(const std::filesystem::path& directory) const;

    /// Encodes each row, keeping its first `num_bytes` tokens; `encode(x, b)` is a prefix of
    /// `encode(x, b + 1)`.
    /// @param embeddings  [n, dim()] float32, row-major, finite, any scale; n may be 0.
    /// @param num_bytes   Prefix length in bytes, in [1, code_bytes()].
    /// @param codes       Out, [n, num_bytes]; unspecified if this throws.
    /// @throws Error      kInvalidArgument: a shape, `num_bytes` or a value is out of range, or a
    ///                    row is zero under cosine. kResourceExhausted: memory ran out; retry with
    ///                    fewer rows.
    virtual void encode(
        MatrixView<const float> embeddings, std::size_t num_bytes,
        MatrixView<std::byte> codes) const = 0;

    /// Reconstructs rows from prefixes.
    /// @param codes       [n, b], b in [1, code_bytes()].
    /// @param embeddings  Out, [n, dim()]. Under cosine the rows approximate the L2-normalised
    ///                    originals. Where pairs taught a map they are its inverse's best guess.
    /// @throws Error      kInvalidArgument: a shape is out of range.
    virtual void decode(MatrixView<const std::byte> codes, MatrixView<float> embeddings) const = 0;

    /// Tells how well the model knows rows: what codes of a few lengths leave of them, beside what
    /// they left of the rows held out in training. Costs an encoding of the rows, and as many
    /// decodings as there are lengths; some thousand rows, drawn at random, tell as much as all.
    /// @param embeddings  [n, dim()], n >= 1, as encode() takes them.
    /// @throws Error      kInvalidArgument: a shape or a value. kFailedPrecondition: the report has
    ///                    no residuals.
    [[nodiscard]] Drift drift(MatrixView<const float> embeddings) const;

    /// Fills look-up tables of tokens [first_token, first_token + tables.cols() / kSymbols).
    /// @param queries  [m, dim()] float32, finite; normalised here under cosine.
    /// @param tables   Out, [m, tokens * kSymbols]: a query's tables, token after token.
    /// @throws Error   kInvalidArgument: a shape, a range or a value is out of range, or a zero
    ///                 query under cosine.
    virtual void query_tables(
        MatrixView<const float> queries, std::size_t first_token,
        MatrixView<float> tables) const = 0;

    /// Where a query's sums start, and what combine() needs of it.
    struct QueryTerms {
        float bias;         ///< <q, mean>; q normalised under cosine.
        float squared_norm; ///< |q|^2; 1 under cosine.
    };
    /// @param terms  Out, [m].
    virtual void query_terms(
        MatrixView<const float> queries, std::span<QueryTerms> terms) const = 0;

    /// Returns what combine() needs of a row, from its prefix: 1 / length under cosine,
    /// |reconstruction|^2 under L2, 0 under inner product. The length is |reconstruction|, drawn a
    /// little to 1 where it is below: rows that a code knows less well are shorter in it, and the
    /// angle alone ranks them too high.
    /// @param codes  [n, b], b in [1, code_bytes()].
    /// @param terms  Out, [n].
    virtual void row_terms(MatrixView<const std::byte> codes, std::span<float> terms) const = 0;

    /// Returns the length of the reconstruction that a row term belongs to, within rounding; NaN
    /// where the term does not tell it.
    /// @param row_term  Of metric cosine or L2, as row_terms() gives it.
    [[nodiscard]] virtual double reconstruction_length(float row_term) const noexcept;

    /// Bounds what rounding does to sums: |sum - <q, decode(code)>| <= sum_error() * |q| for the
    /// float sum of the bias and of the look-ups of every prefix of at most `num_bytes` tokens, the
    /// product in exact arithmetic, q L2-normalised under cosine.
    /// @param num_bytes  In [1, code_bytes()].
    /// @param length     At least |decode(code)|; infinity: not known. The error grows at most in
    ///                   proportion.
    /// @returns infinity where nothing is known, as where pairs taught a map: sums are then
    /// products
    ///          of other rows than decode() gives.
    [[nodiscard]] virtual double sum_error(std::size_t num_bytes, double length) const noexcept;

    /// Turns a sum of look-ups into a score, larger = closer: cosine, inner product, or minus
    /// squared distance.
    [[nodiscard]] static float combine(
        Metric metric, float sum, float row_term, float query_squared_norm) noexcept {
        switch (metric) {
            case Metric::kInnerProduct: return sum;
            case Metric::kL2: return 2.0F * sum - row_term - query_squared_norm;
            case Metric::kCosine: return sum * row_term;
        }
        return sum;
    }

    /// Scores every code against every query, as search does.
    /// @param queries  [m, dim()].
    /// @param codes    [n, b], b in [1, code_bytes()].
    /// @param neural   Score by the rows that the decoder makes of codes, as decode() gives them,
    ///                 instead of by tables: 2 dim() operations a query and row. A decoder that is
    ///                 linear, as that of "residual" models is, says what tables say, but for
    ///                 rounding; networks that decode the same codes gained nothing
    ///                 (docs/quality.md).
    /// @param scores   Out, [m, n].
    /// @throws Error   kInvalidArgument: a shape or value.
    virtual void score(
        MatrixView<const float> queries, MatrixView<const std::byte> codes, bool neural,
        MatrixView<float> scores) const = 0;

    /// Returns whether features() answers: the model was trained with TrainOptions::features.
    [[nodiscard]] virtual bool has_features() const noexcept { return false; }

    /// Computes compressed features of rows as floats, for classifiers and clusterings that learn
    /// from them. They need no codes and codes do not need them. The most telling numbers come
    /// first: `features` of fewer columns are the first columns of those of more, bit for bit, in
    /// every batch, order and thread count. They are in the units of the rows (L2-normalised ones
    /// under cosine), and may be compared as rows are, by metric().
    /// @param embeddings  [n, dim()] float32, row-major, finite, any scale; n may be 0.
    /// @param features    Out, [n, dims], dims in [1, dim()]: the share dims / dim() of the bytes
    ///                    is kept. Unspecified if this throws.
    /// @throws Error      kFailedPrecondition: not has_features(). kInvalidArgument: a shape or a
    ///                    value is out of range, or a row is zero under cosine. kResourceExhausted:
    ///                    memory ran out; retry with fewer rows.
    virtual void features(MatrixView<const float> embeddings, MatrixView<float> features) const;
};

/// A way to make a Compressor: one row of the table in compressor/src/kinds.cpp.
struct CompressorKind {
    std::string_view name;    ///< Stable: it is in config.json.
    std::string_view summary; ///< One sentence for `--help`.
    std::unique_ptr<Compressor> (*train)(MatrixView<const float>, const TrainOptions&);
    std::unique_ptr<Compressor> (*open)(const ModelFiles&, std::string_view device);
};

/// Returns every kind; contract tests run over it.
[[nodiscard]] std::span<const CompressorKind> compressor_kinds() noexcept;

/// Sets how many threads encode, train and table-building use; the process default is the core
/// count. The one place where thread counts are set: it covers LibTorch, OpenMP (and so FAISS).
/// @param threads  In [1, 1024].
/// @throws Error   kInvalidArgument.
void set_num_threads(std::size_t threads);
[[nodiscard]] std::size_t num_threads() noexcept;

} // namespace arfc
