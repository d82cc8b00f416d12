#include "arfc/index/vector_index.h"

#include <faiss/Index.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "arfc/base/error.h"
#include "arfc/base/narrow.h"
#include "arfc/index/arfc_index.h"
#include "arfc/index/index_factory.h"
#include "arfc/index/index_io.h"
#include "faiss_errors.h"
#include "wrappers.h"

namespace arfc {
namespace {

/// Looks through an id map.
template <class Kind>
Kind* behind_id_map(faiss::Index& index) {
    auto* const map = dynamic_cast<faiss::IndexIDMap*>(&index);
    return dynamic_cast<Kind*>(map == nullptr ? &index : map->index);
}

/// Empty where FAISS's own file forgets what the string said.
std::string factory_of(const faiss::Index& index) {
    try {
        return reverse_index_factory(index);
    } catch (const Error&) {
        return {};
    }
}

/// FAISS's form of the parameters, and what it points at.
struct Parameters {
    Parameters(faiss::Index& index, const VectorSearchParameters& from) {
        if (from.allowed_ids) {
            selector = std::make_unique<faiss::IDSelectorBatch>(
                from.allowed_ids->size(), from.allowed_ids->data());
        }
        if (arfc_behind(index) != nullptr) {
            auto made = std::make_unique<SearchParametersARFC>();
            made->stages = from.stages;
            made->nprobe = from.nprobe;
            made->efSearch = from.ef_search;
            made->until = from.until;
            made->certainty = from.certainty;
            params = std::move(made);
        } else {
            params = faiss_parameters(index, from);
        }
        if (params != nullptr) {
            params->sel = selector.get();
        }
    }

    /// Null where nothing was asked for: many of FAISS's indexes throw on any parameters.
    std::unique_ptr<faiss::SearchParameters> faiss_parameters(
        faiss::Index& index, const VectorSearchParameters& from) const {
        const auto* const ivf = behind_id_map<faiss::IndexIVF>(index);
        if (from.until || from.certainty != nullptr) {
            fail(
                ErrorKind::kUnsupported,
                "Index has no prefixes, so nothing tells how sure its answers are; factory strings "
                "that begin with ARFC have them");
        }
        if (!from.stages.empty() || (from.nprobe && ivf == nullptr)) {
            fail(
                ErrorKind::kUnsupported, "Index has no ",
                from.stages.empty() ? "inverted lists, so nprobe" : "prefixes, so stages",
                " cannot be chosen; factory strings that begin with ARFC have them");
        }
        if (from.ef_search) {
            if (behind_id_map<faiss::IndexHNSW>(index) == nullptr) {
                fail(
                    ErrorKind::kUnsupported,
                    "Index has no graph, so efSearch cannot be chosen: ", *from.ef_search);
            }
            auto made = std::make_unique<faiss::SearchParametersHNSW>();
            made->efSearch = narrow<int>(*from.ef_search);
            return made;
        }
        if (ivf != nullptr && (from.nprobe || selector != nullptr)) {
            auto made = std::make_unique<faiss::SearchParametersIVF>();
            made->nprobe = from.nprobe.value_or(ivf->nprobe);
            return made;
        }
        return selector == nullptr ? nullptr : std::make_unique<faiss::SearchParameters>();
    }

    std::unique_ptr<faiss::IDSelectorBatch> selector;
    std::unique_ptr<faiss::SearchParameters> params;
};

class FaissVectorIndex final : public VectorIndex {
  public:
    FaissVectorIndex(std::unique_ptr<faiss::Index> index, std::string factory)
        : index_(std::move(index)), factory_(std::move(factory)) {}

    void write(const std::filesystem::path& path) const override { write_index(*index_, path); }

    void train(MatrixView<const float> rows, const VectorTrainOptions& options) override {
        check_width(rows);
        if (index_->ntotal > 0) {
            fail(
                ErrorKind::kFailedPrecondition,
                "Index holds rows of the training that it has; call reset() first; rows: ",
                index_->ntotal);
        }
        if (auto* const arfc = arfc_behind(*index_)) {
            arfc->train_options = {
                .time_budget_s = options.time_budget_s,
                .seed = options.seed,
                .device = options.device,
                .progress = options.progress,
                .model = options.model,
                .lists_per_row = options.lists_per_row};
        } else if (!options.model.empty()) {
            fail(
                ErrorKind::kUnsupported, "Index keeps no ARFC codes, so it takes no model: \"",
                factory_, "\"");
        }
        guard("Index cannot be trained", [&] { index_->train(count(rows), rows.data()); });
    }

    void add(MatrixView<const float> rows) override {
        check_rows(rows);
        guard("Rows cannot be added", [&] { index_->add(count(rows), rows.data()); });
    }

    void add_with_ids(MatrixView<const float> rows, std::span<const std::int64_t> ids) override {
        check_rows(rows);
        if (ids.size() != rows.rows()) {
            fail(
                ErrorKind::kInvalidArgument, "Ids differ in number from the rows: ", ids.size(),
                ", expected ", rows.rows());
        }
        translate_faiss(
            ErrorKind::kUnsupported,
            "Index keeps no ids; put \"IDMap2,\" before its factory string",
            [&] { index_->add_with_ids(count(rows), rows.data(), ids.data()); });
    }

    void search(
        MatrixView<const float> queries, std::size_t k, const VectorSearchParameters& parameters,
        MatrixView<float> distances, MatrixView<std::int64_t> labels) const override {
        check_answers(queries, k, distances, labels);
        const Parameters faiss_form(*index_, parameters);
        guard("Index cannot be searched", [&] {
            index_->search(
                count(queries), queries.data(), narrow<std::int64_t>(k), distances.data(),
                labels.data(), faiss_form.params.get());
        });
    }

    [[nodiscard]] RangeAnswer range_search(
        MatrixView<const float> queries, float radius,
        const VectorSearchParameters& parameters) const override {
        check_rows(queries);
        if (std::isnan(radius)) {
            fail(ErrorKind::kInvalidArgument, "Radius is not a number: ", radius);
        }
        const Parameters faiss_form(*index_, parameters);
        faiss::RangeSearchResult result(queries.rows());
        translate_faiss(ErrorKind::kUnsupported, "Index does not offer range_search", [&] {
            index_->range_search(
                count(queries), queries.data(), radius, &result, faiss_form.params.get());
        });
        RangeAnswer answer;
        answer.offsets.assign(result.lims, result.lims + queries.rows() + 1);
        answer.distances.assign(result.distances, result.distances + answer.offsets.back());
        answer.labels.assign(result.labels, result.labels + answer.offsets.back());
        return answer;
    }

    [[nodiscard]] std::vector<float> reconstruct(std::int64_t id) const override {
        std::vector<float> row(dim());
        const bool is_ours =
            arfc_behind(*index_) != nullptr || dynamic_cast<faiss::IndexIDMap*>(index_.get());
        if (!is_ours && (id < 0 || id >= index_->ntotal)) {
            fail(ErrorKind::kNotFound, "Index holds no row of id: ", id);
        }
        translate_faiss(ErrorKind::kUnsupported, "Index cannot reconstruct", [&] {
            index_->reconstruct(id, row.data());
        });
        return row;
    }

    [[nodiscard]] std::vector<float> reconstruct(std::span<const std::int64_t> ids) const override {
        std::vector<float> rows(ids.size() * dim());
        if (arfc_behind(*index_) == nullptr) { // One by one: not every index of FAISS's checks ids.
            for (std::size_t i = 0; i < ids.size(); ++i) {
                std::ranges::copy(
                    reconstruct(ids[i]), rows.begin() + static_cast<std::ptrdiff_t>(i * dim()));
            }
            return rows;
        }
        translate_faiss(ErrorKind::kUnsupported, "Index cannot reconstruct", [&] {
            index_->reconstruct_batch(narrow<std::int64_t>(ids.size()), ids.data(), rows.data());
        });
        return rows;
    }

    [[nodiscard]] std::vector<float> reconstruct_rows(
        std::size_t first, std::size_t count) const override {
        if (first > ntotal() || count > ntotal() - first) {
            fail(
                ErrorKind::kNotFound, "Index holds rows [0, ", ntotal(), "), asked for [", first,
                ", ", first, " + ", count, ")");
        }
        std::vector<float> rows(count * dim());
        translate_faiss(ErrorKind::kUnsupported, "Index cannot reconstruct rows by position", [&] {
            index_->reconstruct_n(
                narrow<std::int64_t>(first), narrow<std::int64_t>(count), rows.data());
        });
        return rows;
    }

    void search_and_reconstruct(
        MatrixView<const float> queries, std::size_t k, const VectorSearchParameters& parameters,
        MatrixView<float> distances, MatrixView<std::int64_t> labels,
        MatrixView<float> reconstructed) const override {
        check_answers(queries, k, distances, labels);
        if (reconstructed.rows() != queries.rows() || reconstructed.cols() != k * dim()) {
            fail(
                ErrorKind::kInvalidArgument,
                "Reconstructions have a shape other than [m, k * dim]: [", reconstructed.rows(),
                ", ", reconstructed.cols(), "], expected [", queries.rows(), ", ", k * dim(), "]");
        }
        const Parameters faiss_form(*index_, parameters);
        translate_faiss(ErrorKind::kUnsupported, "Index cannot search and reconstruct", [&] {
            index_->search_and_reconstruct(
                count(queries), queries.data(), narrow<std::int64_t>(k), distances.data(),
                labels.data(), reconstructed.data(), faiss_form.params.get());
        });
    }

    [[nodiscard]] std::size_t code_size() const override {
        return translate_faiss(
            ErrorKind::kUnsupported, "Index has no codec", [&] { return index_->sa_code_size(); });
    }

    void encode(MatrixView<const float> rows, MatrixView<std::byte> codes) const override {
        check_rows(rows);
        check_codes(rows.rows(), codes);
        translate_faiss(ErrorKind::kUnsupported, "Index cannot encode", [&] {
            index_->sa_encode(
                count(rows), rows.data(), reinterpret_cast<std::uint8_t*>(codes.data()));
        });
    }

    void decode(MatrixView<const std::byte> codes, MatrixView<float> rows) const override {
        check_rows(rows);
        check_codes(rows.rows(), codes);
        translate_faiss(ErrorKind::kUnsupported, "Index cannot decode", [&] {
            index_->sa_decode(
                count(rows), reinterpret_cast<const std::uint8_t*>(codes.data()), rows.data());
        });
    }

    void merge_from(VectorIndex& other, std::int64_t add_id) override {
        auto& from = dynamic_cast<FaissVectorIndex&>(other); // There is no other class of it.
        if (&from == this) {
            fail(
                ErrorKind::kInvalidArgument,
                "Index takes in the rows of another, not of itself; rows: ", ntotal());
        }
        guard("Indexes cannot be merged", [&] {
            index_->check_compatible_for_merge(*from.index_);
            index_->merge_from(*from.index_, add_id);
        });
    }

    [[nodiscard]] std::string reverse_factory() const override {
        return reverse_index_factory(*index_);
    }

    std::size_t remove_ids(std::span<const std::int64_t> ids) override {
        const faiss::IDSelectorBatch selector(ids.size(), ids.data());
        return translate_faiss(ErrorKind::kUnsupported, "Index cannot remove rows", [&] {
            return index_->remove_ids(selector);
        });
    }

    void reset() override {
        guard("Index cannot be emptied", [&] { index_->reset(); });
    }

    [[nodiscard]] std::size_t ntotal() const noexcept override {
        return static_cast<std::size_t>(index_->ntotal);
    }
    [[nodiscard]] std::size_t dim() const noexcept override {
        return static_cast<std::size_t>(index_->d);
    }
    [[nodiscard]] bool is_trained() const noexcept override { return index_->is_trained; }
    [[nodiscard]] Metric metric() const noexcept override {
        return index_->metric_type == faiss::METRIC_L2 ? Metric::kL2 : Metric::kInnerProduct;
    }
    [[nodiscard]] const std::string& factory() const noexcept override { return factory_; }

  private:
    template <class Work>
    static void guard(std::string_view what, const Work& work) {
        translate_faiss(ErrorKind::kInvalidArgument, what, work);
    }

    static std::int64_t count(MatrixView<const float> rows) {
        return narrow<std::int64_t>(rows.rows());
    }

    void check_width(MatrixView<const float> rows) const {
        if (rows.cols() != dim()) {
            fail(
                ErrorKind::kInvalidArgument,
                "Embedding width differs from the index's: ", rows.cols(), ", expected ", dim());
        }
    }

    void check_answers(
        MatrixView<const float> queries, std::size_t k, MatrixView<const float> distances,
        MatrixView<const std::int64_t> labels) const {
        check_rows(queries);
        if (k < 1 || distances.rows() != queries.rows() || labels.rows() != queries.rows() ||
            distances.cols() != k || labels.cols() != k) {
            fail(
                ErrorKind::kInvalidArgument,
                "Answers have a shape other than [m, k >= 1]: distances [", distances.rows(), ", ",
                distances.cols(), "], labels [", labels.rows(), ", ", labels.cols(),
                "], expected [", queries.rows(), ", ", k, "]");
        }
    }

    void check_codes(std::size_t rows, MatrixView<const std::byte> codes) const {
        const std::size_t size = code_size();
        if (codes.rows() != rows || codes.cols() != size) {
            fail(
                ErrorKind::kInvalidArgument, "Codes have a shape other than [n, code size]: [",
                codes.rows(), ", ", codes.cols(), "], expected [", rows, ", ", size, "]");
        }
    }

    void check_rows(MatrixView<const float> rows) const {
        check_width(rows);
        if (!is_trained()) {
            fail(
                ErrorKind::kFailedPrecondition,
                "Index is not trained; call train() with rows like those to be added");
        }
    }

    std::unique_ptr<faiss::Index> index_;
    std::string factory_;
};

} // namespace

std::unique_ptr<VectorIndex> VectorIndex::create(
    std::size_t dim, std::string_view factory, Metric metric) {
    if (metric == Metric::kCosine) {
        fail(
            ErrorKind::kInvalidArgument,
            "Indexes offer inner product and L2; for cosine, L2-normalise rows and use inner "
            "product, not metric: ",
            to_string(metric));
    }
    if (dim < 1 || dim > 65536) {
        fail(ErrorKind::kInvalidArgument, "Embedding width is outside [1, 65536]: ", dim);
    }
    auto index = index_factory(
        static_cast<int>(dim), factory,
        metric == Metric::kL2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT);
    return std::make_unique<FaissVectorIndex>(std::move(index), std::string(factory));
}

std::unique_ptr<VectorIndex> VectorIndex::read(const std::filesystem::path& path) {
    std::unique_ptr<faiss::Index> index = read_index(path);
    std::string factory = factory_of(*index);
    return std::make_unique<FaissVectorIndex>(std::move(index), std::move(factory));
}

} // namespace arfc
