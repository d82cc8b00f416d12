#include "faiss_structure.h"

#include <faiss/Index2Layer.h>
#include <faiss/IndexAdditiveQuantizer.h>
#include <faiss/IndexAdditiveQuantizerFastScan.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFAdditiveQuantizer.h>
#include <faiss/IndexIVFAdditiveQuantizerFastScan.h>
#include <faiss/IndexIVFFastScan.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexLattice.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexRowwiseMinMax.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/impl/io.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <functional>
#include <optional>
#include <typeinfo>
#include <utility>
#include <vector>

#include "arfc/base/error.h"
#include "arfc/base/sha256.h"
#include "arfc/index/index_factory.h"
#include "byte_io.h"
#include "faiss_errors.h"
#include "unit_rows.h"

namespace arfc {
namespace {

constexpr std::size_t kMostText = 256;          // FAISS matches regular expressions, recursively.
constexpr std::size_t kMostLists = 1 << 20;     // 48 MB of empty lists.
constexpr std::size_t kMostWidth = 65536;       // As embeddings.
constexpr std::size_t kMostBits = 16;           // Of a codebook's number.
constexpr std::size_t kMostMultiBits = 10;      // Two such codebooks make 2^20 lists.
constexpr std::size_t kMostCentroids = 1 << 26; // Floats: 256 MB, allocated with the index.
constexpr std::size_t kMostRotated = 2048;      // "LSHr" makes its rotation with the index.
constexpr std::size_t kLeastLinks = 4;          // Of FAISS's graphs ...
constexpr std::size_t kMostLinks = 256;
constexpr std::size_t kUsualCodebook = 256;    // Where a string names no number of bits.
constexpr std::size_t kLeastRows = 256;        // Scanned as fast, and exactly.
constexpr std::size_t kDecodedRows = 4096;     // At a time: 6 MB of 384 floats.
constexpr std::size_t kTrainingRows = 100'000; // At most, or ...
constexpr std::size_t kTrainingRowsPerCentroid = 16;
constexpr std::size_t kTriedRows = 512;    // Added and asked for when an index is trained.
constexpr std::size_t kUsualProbes = 32;   // As of our own lists, and of more than 2,048 ...
constexpr std::size_t kListsPerProbe = 64; // ... every 64th.
constexpr std::size_t kAbsurdCount = std::size_t{1} << 40; // FAISS refuses such itself.
constexpr std::size_t kDigestSize = 64;

bool contains(std::string_view text, std::string_view part) noexcept {
    return text.find(part) != std::string_view::npos;
}

/// What the numbers of a string ask for, before FAISS is let near them.
class Numbers {
  public:
    Numbers(std::size_t dim, std::string_view text) : text_(text), width_(dim) {
        constexpr std::string_view kDigits = "0123456789";
        for (std::size_t first = text.find_first_of(kDigits); first != std::string_view::npos;) {
            const std::size_t end = std::min(text.find_first_not_of(kDigits, first), text.size());
            read(first, end);
            first = text.find_first_of(kDigits, end);
        }
        const bool has_two_codebooks = contains(text, "IMI") || contains(text, "+");
        are_modest_ = are_modest_ && bits_ <= (has_two_codebooks ? kMostMultiBits : kMostBits) &&
                      width_ << bits_ <= kMostCentroids &&
                      (!contains(text, "LSHr") || width_ <= kMostRotated);
    }

    [[nodiscard]] bool are_modest() const noexcept { return are_modest_; }

    /// Returns how many rows an index that learns must be given: one for each centroid of its
    /// largest codebook.
    [[nodiscard]] std::size_t training_rows() const noexcept { return training_rows_; }

  private:
    void read(std::size_t first, std::size_t end) {
        std::size_t value = 0;
        const auto [stop, error] = std::from_chars(text_.data() + first, text_.data() + end, value);
        const std::string_view before = text_.substr(0, first);
        const char next = end < text_.size() ? text_[end] : '\0';
        const bool is_period = contains(before, ",SH"); // "SH-1e10": any number.
        bool is_modest = error == std::errc() && value <= kMostLists && (value > 0 || is_period);
        if (before.ends_with('x') && next != 'x') {
            is_modest = is_modest && value <= kMostBits;
            if (is_modest) {
                bits_ = std::max(bits_, value);
                ask_for(std::size_t{1} << value);
            }
        } else if (before.ends_with("IVF")) {
            ask_for(value);
        } else if (before.ends_with("HNSW") || before.ends_with("NSG")) {
            is_modest = is_modest && value >= kLeastLinks && value <= kMostLinks;
        } else {
            is_modest = is_modest && value <= kMostWidth;
            if (is_modest) {
                width_ = std::max(width_, value);
            }
            const bool has_usual_codebook =
                next != 'x' && (before.ends_with("PQ") || before.ends_with("PQ8+"));
            ask_for(has_usual_codebook ? kUsualCodebook : next == '+' ? value : 1);
        }
        are_modest_ = are_modest_ && is_modest;
    }

    void ask_for(std::size_t rows) { training_rows_ = std::max(training_rows_, rows); }

    std::string_view text_;
    std::size_t width_;
    std::size_t bits_ = 0;
    std::size_t training_rows_ = 1;
    bool are_modest_ = true;
};

/// An index, or FAISS's reason for there being none.
struct Made {
    std::unique_ptr<faiss::Index> index;
    std::string refusal;
};

Made make(std::size_t dim, const std::string& text, faiss::MetricType metric) {
    Made made;
    try {
        made.index.reset(faiss::index_factory(static_cast<int>(dim), text.c_str(), metric));
    } catch (const std::bad_alloc&) {
        fail(
            ErrorKind::kResourceExhausted, "Memory ran out for an index of FAISS's: \"", text,
            "\"");
    } catch (const std::exception& error) { // Of FAISS, of a number's parser or of <regex>.
        made.refusal = error.what();
    }
    return made;
}

/// Makes an empty index that ranks as the metric does, or none.
Made make(std::size_t dim, const std::string& text, Metric metric) {
    if (metric == Metric::kL2) {
        return make(dim, text, faiss::METRIC_L2);
    }
    Made made = make(dim, text, faiss::METRIC_INNER_PRODUCT);
    if (made.index == nullptr && metric == Metric::kCosine) {
        return make(dim, text, faiss::METRIC_L2); // Of unit rows the nearest have the largest
                                                  // products.
    }
    if (made.index != nullptr && metric == Metric::kInnerProduct &&
        made.index->metric_type != faiss::METRIC_INNER_PRODUCT) {
        made = {nullptr, "it ranks by distance whatever it is asked for"};
    }
    return made;
}

/// Looks through transforms, which pass parameters of a search on.
template <class Index>
Index& behind_transforms(Index& index) {
    const auto* const transformed = dynamic_cast<const faiss::IndexPreTransform*>(&index);
    return transformed == nullptr ? index : behind_transforms<Index>(*transformed->index);
}

/// Looks through whatever passes a search on, if without its parameters.
template <class Index>
Index& finder(Index& index) {
    Index& behind = behind_transforms(index);
    const auto* const refined = dynamic_cast<const faiss::IndexRefine*>(&behind);
    return refined == nullptr ? behind : finder<Index>(*refined->base_index);
}

template <class... Kinds>
bool is_any_of(const faiss::Index& index) {
    return ((dynamic_cast<const Kinds*>(&index) != nullptr) || ...);
}

/// Says whether the index keeps rows and finds them: some are parts of others only, and some cannot
/// be the part that they are made here, which FAISS finds out between threads, where no exception
/// is survived.
bool keeps_rows(const faiss::Index& index) {
    if (const auto* const transformed = dynamic_cast<const faiss::IndexPreTransform*>(&index)) {
        return keeps_rows(*transformed->index);
    }
    if (const auto* const refined = dynamic_cast<const faiss::IndexRefine*>(&index)) {
        return keeps_rows(*refined->base_index) &&
               is_any_of<faiss::IndexFlat, faiss::IndexScalarQuantizer, faiss::IndexPQ>(
                   *refined->refine_index);
    }
    if (const auto* const ivf = dynamic_cast<const faiss::IndexIVF*>(&index)) {
        return is_any_of<
            faiss::IndexFlat, faiss::IndexScalarQuantizer, faiss::IndexPQ, faiss::IndexHNSW,
            faiss::IndexNSG, faiss::AdditiveCoarseQuantizer, faiss::MultiIndexQuantizer>(
            *ivf->quantizer);
    }
    return !is_any_of<
        faiss::Index2Layer, faiss::IndexLattice, faiss::IndexRowwiseMinMaxBase,
        faiss::AdditiveCoarseQuantizer, faiss::MultiIndexQuantizer>(index);
}

/// Exact types: what derives from them may not ask the selector.
bool takes_selector(const faiss::Index& index) {
    const faiss::Index& inner = behind_transforms(index);
    const std::type_info& type = typeid(inner);
    return type == typeid(faiss::IndexFlat) || type == typeid(faiss::IndexScalarQuantizer) ||
           type == typeid(faiss::IndexIVFFlat) || type == typeid(faiss::IndexIVFPQ) ||
           type == typeid(faiss::IndexIVFScalarQuantizer);
}

/// Leaves out the training for polysemous codes, which takes seconds a sub-quantizer and serves a
/// filter that no search here asks for. FAISS's files do not say whether it was done.
void simplify_training(faiss::Index& index) {
    if (auto* const transformed = dynamic_cast<faiss::IndexPreTransform*>(&index)) {
        simplify_training(*transformed->index);
    } else if (auto* const refined = dynamic_cast<faiss::IndexRefine*>(&index)) {
        simplify_training(*refined->base_index);
        simplify_training(*refined->refine_index);
    } else if (auto* const hnsw = dynamic_cast<faiss::IndexHNSW*>(&index)) {
        simplify_training(*hnsw->storage);
    } else if (auto* const nsg = dynamic_cast<faiss::IndexNSG*>(&index)) {
        simplify_training(*nsg->storage);
    } else if (auto* const pq = dynamic_cast<faiss::IndexPQ*>(&index)) {
        pq->do_polysemous_training = false;
    } else if (auto* const ivf = dynamic_cast<faiss::IndexIVFPQ*>(&index)) {
        ivf->do_polysemous_training = false;
    }
}

CoarseTraits traits_of(faiss::Index& index, std::size_t training_rows) {
    CoarseTraits traits{
        .takes_ef_search = is_any_of<faiss::IndexHNSW, faiss::IndexNSG>(finder(index)),
        .selects = takes_selector(index)};
    if (auto* const ivf = dynamic_cast<faiss::IndexIVF*>(&finder(index))) {
        traits.nprobe = std::min(ivf->nlist, std::max(kUsualProbes, ivf->nlist / kListsPerProbe));
        ivf->nprobe = traits.nprobe; // Where no parameters reach it.
        const bool takes_parameters =
            ivf == &behind_transforms(index) && !is_any_of<faiss::IndexIVFFastScan>(*ivf);
        traits.lists = takes_parameters ? ivf->nlist : 0;
        traits.nprobe = takes_parameters ? traits.nprobe : 1;
    }
    traits.training_rows = index.is_trained ? 1 : training_rows;
    return traits;
}

/// Asks a function, as FAISS asks.
struct FunctionSelector final : faiss::IDSelector {
    explicit FunctionSelector(const std::function<bool(std::uint32_t)>& wanted) : accepts(wanted) {}
    bool is_member(std::int64_t id) const override {
        return accepts(static_cast<std::uint32_t>(id));
    }
    const std::function<bool(std::uint32_t)>& accepts;
};

struct CountingWriter final : faiss::IOWriter {
    std::size_t operator()(const void* /*from*/, std::size_t size, std::size_t items) override {
        bytes += size * items;
        return items;
    }
    std::size_t bytes = 0;
};

struct StringWriter final : faiss::IOWriter {
    std::size_t operator()(const void* from, std::size_t size, std::size_t items) override {
        bytes.append(static_cast<const char*>(from), size * items);
        return items;
    }
    std::string bytes;
};

/// Reads bytes, and refuses counts that there are no bytes for: FAISS makes room for what a file
/// says before it reads it. Counts have 64 bits; so have ids, which are smaller than the number of
/// rows, and doubles, which as counts are absurd, whereupon FAISS refuses them.
struct StringReader final : faiss::IOReader {
    explicit StringReader(std::string_view from) : bytes(from) {}

    std::size_t operator()(void* to, std::size_t size, std::size_t items) override {
        const std::size_t left = bytes.size() - position;
        if (size == 0 || items > left / size) {
            return 0;
        }
        // Of no items FAISS gives no place, which memcpy() may not be given.
        std::copy_n(bytes.data() + position, size * items, static_cast<char*>(to));
        position += size * items;
        const std::size_t most = std::max(bytes.size(), kMostLists);
        for (std::size_t i = 0; size == sizeof(std::uint64_t) && i < items; ++i) {
            std::uint64_t count = 0;
            std::memcpy(&count, static_cast<const char*>(to) + i * size, size);
            if (count > most && count < kAbsurdCount) {
                return 0;
            }
        }
        return items;
    }

    std::string_view bytes;
    std::size_t position = 0;
};

template <class Kind>
faiss::AdditiveQuantizer* additive_quantizer_of(faiss::Index& index) {
    auto* const of_kind = dynamic_cast<Kind*>(&index);
    return of_kind == nullptr ? nullptr : of_kind->aq;
}

/// Computes what FAISS forgets to when it reads a file, and without which adding a row ends the
/// process: the order in which an additive quantizer keeps norms, and an NSG's table of distances
/// between centroids.
void complete(faiss::Index& index) {
    if (auto* const nsg = dynamic_cast<faiss::IndexNSG*>(&index)) {
        if (auto* const codes = dynamic_cast<faiss::IndexPQ*>(nsg->storage)) {
            codes->pq.compute_sdc_table();
        }
    }
    for (faiss::AdditiveQuantizer* const quantizer :
         {additive_quantizer_of<faiss::IndexAdditiveQuantizer>(index),
          additive_quantizer_of<faiss::IndexAdditiveQuantizerFastScan>(index),
          additive_quantizer_of<faiss::IndexIVFAdditiveQuantizer>(index),
          additive_quantizer_of<faiss::IndexIVFAdditiveQuantizerFastScan>(index)}) {
        if (quantizer != nullptr && !quantizer->qnorm.codes.empty()) {
            quantizer->qnorm.ntotal =
                static_cast<std::int64_t>(quantizer->qnorm.codes.size() / sizeof(float));
            quantizer->qnorm.update_permutation();
        }
    }
}

/// @returns the factory string, or nothing where none is known.
std::string name_of(const faiss::Index& index) {
    try {
        return reverse_index_factory(index);
    } catch (const Error&) {
        return {};
    }
}

/// FAISS takes the byte from a file as it is, and one that is neither 0 nor 1 is no bool.
bool says_that_it_is_trained(const faiss::Index& read) {
    unsigned char byte = 0;
    std::memcpy(&byte, &read.is_trained, 1);
    return byte == 1;
}

/// @returns what is wrong with an index that was read, or nothing.
std::optional<std::string> fault_in(
    const faiss::Index& read, const faiss::Index& fresh, std::size_t rows) {
    const faiss::Index& inner = behind_transforms(read);
    const faiss::Index& fresh_inner = behind_transforms(fresh);
    if (read.d != fresh.d || read.metric_type != fresh.metric_type ||
        !says_that_it_is_trained(read) || inner.d != fresh_inner.d ||
        name_of(inner) != name_of(fresh_inner)) {
        return "another index than the factory string's";
    }
    if (static_cast<std::size_t>(read.ntotal) != rows) {
        return "another number of rows";
    }
    const faiss::Index& found_by = finder(read);
    if (const auto* const flat = dynamic_cast<const faiss::IndexFlatCodes*>(&found_by);
        flat != nullptr && flat->codes.size() != rows * flat->code_size) {
        return "codes of another size";
    }
    const auto* const ivf = dynamic_cast<const faiss::IndexIVF*>(&found_by);
    if (ivf == nullptr) {
        return std::nullopt;
    }
    const faiss::InvertedLists& lists = *ivf->invlists;
    if (lists.nlist != ivf->nlist || lists.compute_ntotal() != rows) {
        return "lists of another number of rows";
    }
    for (std::size_t list = 0; list < lists.nlist; ++list) {
        faiss::InvertedLists::ScopedIds ids(&lists, list);
        if (!std::all_of(ids.get(), ids.get() + lists.list_size(list), [rows](std::int64_t id) {
                return id >= 0 && static_cast<std::size_t>(id) < rows;
            })) {
            return "a list of rows that do not exist";
        }
    }
    return std::nullopt;
}

/// Reconstructs heads as the index is given them.
std::vector<float> decoded(const HeadRows& all, std::size_t first, std::size_t count) {
    const std::size_t dim = all.compressor->dim();
    std::vector<float> rows(count * dim);
    for (std::size_t done = 0; done < count; done += kDecodedRows) {
        const std::size_t some = std::min(kDecodedRows, count - done);
        all.compressor->decode(
            all.heads.slice(first + done, some), {rows.data() + done * dim, some, dim});
    }
    if (all.compressor->metric() == Metric::kCosine) {
        for (std::size_t i = 0; i < count; ++i) {
            normalise(std::span(rows).subspan(i * dim, dim));
        }
    }
    return rows;
}

/// Reconstructs evenly spaced heads.
std::vector<float> decoded_sample(const HeadRows& sample, std::size_t count) {
    const std::size_t width = sample.heads.cols();
    std::vector<std::byte> heads(count * width);
    for (std::size_t i = 0; i < count; ++i) {
        std::ranges::copy(sample.heads.row(i * sample.rows() / count), heads.data() + i * width);
    }
    return decoded({sample.compressor, {heads.data(), count, width}, {}, {}, {}}, 0, count);
}

/// Adds some rows and asks for one, so that what an index cannot do shows before it is relied on.
void try_out(faiss::Index& index, const std::vector<float>& rows) {
    const auto count = static_cast<std::int64_t>(
        std::min(kTriedRows, rows.size() / static_cast<std::size_t>(index.d)));
    index.add(count, rows.data());
    float distance = 0.0F;
    std::int64_t label = 0;
    index.search(1, rows.data(), 1, &distance, &label);
    index.reset();
}

} // namespace

bool FaissStructure::is_offered(std::size_t dim, std::string_view text) {
    const auto ends_well = [](char last) {
        return std::isalnum(static_cast<unsigned char>(last)) != 0 || last == ')';
    };
    if (text.empty() || text.size() > kMostText || !ends_well(text.back()) ||
        contains(text, "ARFC") || contains(text, "IDMap") ||
        contains(text, std::string_view("\0", 1)) || !Numbers(dim, text).are_modest()) {
        return false;
    }
    const Made made = make(dim, std::string(text), Metric::kCosine);
    return made.index != nullptr && keeps_rows(*made.index);
}

FaissStructure::FaissStructure(std::size_t dim, Metric metric, std::string_view text)
    : dim_(dim), metric_(metric), text_(text) {
    Made made = make(dim, text_, metric);
    if (made.index == nullptr) {
        fail(
            ErrorKind::kUnsupported, "FAISS has no such index for the metric ", to_string(metric),
            ": \"", text, "\" (", made.refusal, ")");
    }
    index_ = std::move(made.index);
    simplify_training(*index_);
    traits_ = traits_of(*index_, Numbers(dim, text).training_rows());
    takes_once_ = is_any_of<faiss::IndexNSG>(finder(*index_));
    selects_by_id_ = takes_selector(*index_);
}

FaissStructure::~FaissStructure() = default;

/// FAISS seeds its own random numbers, always alike.
void FaissStructure::train(const HeadRows& sample, std::uint64_t /*seed*/) {
    if (sample.rows() < traits_.training_rows) {
        fail(
            ErrorKind::kInvalidArgument,
            "Training rows are fewer than the coarse part asks for: ", sample.rows(),
            ", expected at least ", traits_.training_rows, " for \"", text_, "\"");
    }
    FaissStructure next(dim_, metric_, text_);
    const std::size_t most =
        std::max(kTrainingRows, traits_.training_rows * kTrainingRowsPerCentroid);
    const std::size_t used = std::min(sample.rows(), most);
    const std::vector<float> rows = decoded_sample(sample, used);
    translate_faiss(
        ErrorKind::kInvalidArgument, "FAISS cannot learn the coarse part \"" + text_ + "\"",
        [&] { next.index_->train(static_cast<std::int64_t>(used), rows.data()); });
    translate_faiss(
        ErrorKind::kUnsupported, "FAISS cannot search the coarse part \"" + text_ + "\"", [&] {
            if (used >= kLeastRows) {
                try_out(*next.index_, rows);
            }
        });
    index_ = std::move(next.index_);
    rows_ = 0;
    is_refused_ = false;
}

/// Returns how many rows are decoded and added together.
std::size_t FaissStructure::rows_at_once(const HeadRows& all) const noexcept {
    return takes_once_ ? all.rows() : kDecodedRows;
}

void FaissStructure::append(const HeadRows& all, std::size_t most) {
    while (rows_ < all.rows()) {
        const std::size_t count = std::min(most, all.rows() - rows_);
        const std::vector<float> rows = decoded(all, rows_, count);
        index_->add(static_cast<std::int64_t>(count), rows.data());
        rows_ += count;
    }
}

void FaissStructure::add(const HeadRows& all) {
    if (!index_->is_trained || is_refused_ || all.rows() < kLeastRows) {
        return;
    }
    if (takes_once_ && rows_ > 0) {
        if (all.rows() - rows_ <= rows_) {
            return;
        }
        clear();
    }
    try {
        append(all, rows_at_once(all));
    } catch (const faiss::FaissException&) { // What is not covered is scanned.
        clear();
        is_refused_ = true;
    } catch (...) {
        clear(); // Part of a portion may be in. The next call begins anew.
        throw;
    }
}

Proposals FaissStructure::find(const HeadRows& /*all*/, const CoarseQuery& query) const {
    std::vector<float> values(query.values.begin(), query.values.end());
    if (metric_ == Metric::kCosine) {
        normalise(values);
    }
    std::optional<FunctionSelector> selector;
    if (query.accepts != nullptr && selects_by_id_) {
        selector.emplace(*query.accepts);
    }
    faiss::SearchParameters plain;
    faiss::SearchParametersIVF ivf;
    ivf.nprobe = query.nprobe;
    plain.sel = ivf.sel = selector ? &*selector : nullptr;
    const faiss::SearchParameters* const params = traits_.lists > 0 ? &ivf
                                                : selector          ? &plain
                                                                    : nullptr;
    Proposals proposals;
    std::vector<float> distances;
    std::vector<std::int64_t> labels;
    for (std::size_t wanted = std::min(query.beam, rows_); wanted > 0;) {
        distances.resize(wanted);
        labels.resize(wanted);
        translate_faiss(
            ErrorKind::kInternal, "FAISS cannot search the coarse part \"" + text_ + "\"", [&] {
                index_->search(
                    1, values.data(), static_cast<std::int64_t>(wanted), distances.data(),
                    labels.data(), params);
            });
        proposals.rows.clear();
        bool has_more = wanted < rows_;
        for (const std::int64_t label : labels) {
            const bool is_row = label >= 0 && static_cast<std::size_t>(label) < rows_;
            has_more = has_more && is_row; // Where the lists are at an end there is no row.
            const auto row = static_cast<std::uint32_t>(label);
            if (is_row && (query.accepts == nullptr || selector || (*query.accepts)(row))) {
                proposals.rows.push_back(row);
            }
        }
        if (!has_more || proposals.rows.size() >= std::min(query.beam, wanted)) {
            break;
        }
        wanted = std::min(2 * wanted, rows_);
    }
    std::ranges::sort(proposals.rows);
    proposals.rows.erase(
        std::unique(proposals.rows.begin(), proposals.rows.end()), proposals.rows.end());
    proposals.scored = proposals.rows.size();
    return proposals;
}

/// Few of FAISS's indexes drop rows, and none numbers them anew.
void FaissStructure::compact(const HeadRows& all, std::span<const std::uint32_t> /*numbers*/) {
    clear();
    add(all);
}

void FaissStructure::clear() {
    if (index_->ntotal > 0) {
        index_->reset();
    }
    rows_ = 0;
}

std::size_t FaissStructure::bytes() const noexcept {
    if (!index_->is_trained) {
        return 0;
    }
    CountingWriter counter;
    try {
        faiss::write_index(index_.get(), &counter);
    } catch (const std::exception&) { // save() tells.
        return 0;
    }
    const auto* const pq = dynamic_cast<const faiss::IndexIVFPQ*>(&finder(*index_));
    return counter.bytes + (pq == nullptr ? 0 : pq->precomputed_table.size() * sizeof(float));
}

void FaissStructure::save(ByteWriter& out) const {
    StringWriter file;
    if (index_->is_trained) {
        translate_faiss(
            ErrorKind::kUnsupported, "FAISS cannot write the coarse part \"" + text_ + "\"",
            [&] { faiss::write_index(index_.get(), &file); });
    }
    out.number(static_cast<std::uint64_t>(rows_));
    out.text(file.bytes);
    out.array(std::span<const char>(sha256_hex(file.bytes)));
}

void FaissStructure::restore(ByteReader& in, std::size_t rows) {
    const auto count = in.number<std::uint64_t>();
    in.require(count <= rows, "coarse part of ", count, " rows, of ", rows);
    const std::string_view bytes = in.text();
    const std::vector<char> digest = in.array<char>(kDigestSize);
    in.require(
        std::ranges::equal(sha256_hex(bytes), digest), "the coarse part \"", text_,
        "\" differs from its checksum; bytes: ", bytes.size());
    if (bytes.empty()) {
        in.require(count == 0 && !index_->is_trained, "a coarse part of no bytes");
        return;
    }
    StringReader reader(bytes);
    std::unique_ptr<faiss::Index> read = translate_faiss(
        ErrorKind::kCorruption, "FAISS cannot read the coarse part \"" + text_ + "\"",
        [&] { return std::unique_ptr<faiss::Index>(faiss::read_index(&reader)); });
    const std::optional<std::string> fault = fault_in(*read, *index_, count);
    in.require(
        !fault && reader.position == bytes.size(), "the coarse part \"", text_, "\" has ",
        fault.value_or("bytes to spare"));
    complete(finder(*read));
    index_ = std::move(read);
    rows_ = count;
}

/// By way of a file: FAISS copies some of its indexes only.
std::unique_ptr<CoarseStructure> FaissStructure::clone() const {
    ByteWriter out;
    save(out);
    auto copy = std::make_unique<FaissStructure>(dim_, metric_, text_);
    ByteReader in(out.bytes(), "Copy of a coarse part");
    copy->restore(in, rows_);
    copy->is_refused_ = is_refused_;
    return copy;
}

} // namespace arfc
