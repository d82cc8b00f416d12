#include "staged_index.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "arfc/base/error.h"
#include "arfc/base/sha256.h"
#include "byte_io.h"

namespace arfc {
namespace {

constexpr std::string_view kMagic = "ARFCLIST";
constexpr std::uint32_t kFormat = 1; // 0: without calibration and error radii.
constexpr std::string_view kWhat = "Coarse file";
constexpr std::size_t kDigestSize = 64;
constexpr std::size_t kDecodedRows = 4096; // Reconstructed at a time: 6 MB at 384 floats.
constexpr std::size_t kMostLists = std::size_t{1} << 24;
constexpr float kUnknownTerm = std::numeric_limits<float>::quiet_NaN();

/// Makes room for `more` elements, at least half as much again as there is, so that appending stays
/// linear.
template <class T>
void grow(std::vector<T>& values, std::size_t more) {
    const std::size_t needed = values.size() + more;
    if (needed > values.capacity()) {
        values.reserve(std::max(needed, values.capacity() + values.capacity() / 2));
    }
}

template <class T>
void append_all(std::vector<T>& values, std::span<const T> more) {
    values.insert(values.end(), more.begin(), more.end());
}

/// Copies the first `width` bytes of each row.
std::vector<std::byte> prefixes(MatrixView<const std::byte> codes, std::size_t width) {
    std::vector<std::byte> out(codes.rows() * width);
    for (std::size_t i = 0; i < codes.rows(); ++i) {
        std::copy_n(codes.row(i).data(), width, out.data() + i * width);
    }
    return out;
}

/// Moves the elements whose flag is set to the front, in order, and drops the others and the spare
/// room.
template <class T, class IsKept>
void keep_if(std::vector<T>& values, std::size_t width, const IsKept& is_kept) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i * width < values.size(); ++i) {
        if (is_kept(i)) {
            std::copy_n(
                values.begin() + static_cast<std::ptrdiff_t>(i * width), width,
                values.begin() + static_cast<std::ptrdiff_t>(kept * width));
            ++kept;
        }
    }
    values.resize(kept * width);
    values.shrink_to_fit();
}

} // namespace

std::uint8_t StagedIndex::TermScale::level(float term) const noexcept {
    if (!(high > low) || !(term > low)) { // What is no number is not above either.
        return 0;
    }
    return term >= high
             ? 255
             : static_cast<std::uint8_t>(std::lround((term - low) / (high - low) * 255.0F));
}

float StagedIndex::TermScale::term(std::uint8_t level) const noexcept {
    return low + (high - low) * (static_cast<float>(level) / 255.0F);
}

StagedIndex::StagedIndex(std::shared_ptr<const Compressor> compressor, StagedShape shape)
    : compressor_(std::move(compressor)), shape_(std::move(shape)), lists_(1) {
    std::size_t previous = 0;
    for (const std::size_t bytes : shape_.stage_bytes) {
        if (bytes <= previous || bytes > compressor_->code_bytes()) {
            fail(
                ErrorKind::kInvalidArgument, "Prefix lengths do not ascend within [1, ",
                compressor_->code_bytes(), "]: ", bytes, " after ", previous);
        }
        previous = bytes;
    }
    if (previous == 0 || shape_.nlist > kMostLists) {
        fail(
            ErrorKind::kInvalidArgument,
            "Index shape has no prefix length, or too many lists: ", shape_.nlist);
    }
    if (compressor_->metric() != Metric::kInnerProduct) {
        rank_terms_.resize(shape_.stage_bytes.size() - 1);
    }
    if (!shape_.coarse.empty()) {
        if (shape_.nlist > 0) {
            fail(
                ErrorKind::kInvalidArgument, "Index shape has lists and a coarse structure too: \"",
                shape_.coarse, "\"");
        }
        structure_ = make_coarse(compressor_->dim(), compressor_->metric(), shape_.coarse);
    }
}

StagedIndex::StagedIndex(StagedIndex&&) noexcept = default;
StagedIndex& StagedIndex::operator=(StagedIndex&&) noexcept = default;
StagedIndex::~StagedIndex() = default;

StagedIndex::TermKind StagedIndex::scan_term_kind() const noexcept {
    if (compressor_->metric() == Metric::kInnerProduct) {
        return TermKind::kNone;
    }
    return is_trained() && shape_.stage_bytes.size() > 1 ? TermKind::kLevel : TermKind::kFloat;
}

std::vector<std::uint32_t> StagedIndex::assign(MatrixView<const std::byte> heads) const {
    std::vector<std::uint32_t> lists(heads.rows() * copies());
    if (list_count() == 1) {
        return lists;
    }
    std::vector<float> rows(std::min(kDecodedRows, heads.rows()) * compressor_->dim());
    for (std::size_t first = 0; first < heads.rows(); first += kDecodedRows) {
        const std::size_t count = std::min(kDecodedRows, heads.rows() - first);
        const MatrixView<float> decoded(rows.data(), count, compressor_->dim());
        compressor_->decode(heads.slice(first, count), decoded);
        const std::span<std::uint32_t> some =
            std::span(lists).subspan(first * copies(), count * copies());
        if (copies() == 1) {
            coarse_.assign(decoded, some);
        } else {
            coarse_.assign_several(decoded, copies(), some);
        }
    }
    for (std::size_t i = 0; i < lists.size(); ++i) {
        lists[i] += static_cast<std::uint32_t>(i % copies() * list_count());
    }
    return lists;
}

std::vector<ErrorRadius> StagedIndex::error_radii(
    MatrixView<const std::byte> codes, MatrixView<const float> originals) const {
    if (codes.cols() != code_bytes() ||
        (!originals.empty() &&
         (originals.rows() != codes.rows() || originals.cols() != compressor_->dim()))) {
        fail(
            ErrorKind::kInvalidArgument, "Codes and originals have other shapes than [n, ",
            code_bytes(), "] and [n, ", compressor_->dim(), "]: [", codes.rows(), ", ",
            codes.cols(), "] and [", originals.rows(), ", ", originals.cols(), "]");
    }
    return shape_.error_radii ? measure_radii(*compressor_, shape_.stage_bytes, codes, originals)
                              : std::vector<ErrorRadius>();
}

void StagedIndex::add(
    MatrixView<const std::byte> heads, MatrixView<const float> rank_terms,
    MatrixView<const ErrorRadius> radii) {
    const std::size_t count = heads.rows();
    if (count == 0) {
        return;
    }
    if (heads.cols() != head_bytes()) {
        fail(
            ErrorKind::kInvalidArgument,
            "Heads have a width other than the index's: ", heads.cols(), ", expected ",
            head_bytes());
    }
    const std::size_t later = shape_.stage_bytes.size() - 1;
    if (!rank_terms.empty() && (rank_terms.rows() != count || rank_terms.cols() != later)) {
        fail(
            ErrorKind::kInvalidArgument, "Row terms have a shape other than the rows ask for: [",
            rank_terms.rows(), ", ", rank_terms.cols(), "], expected [", count, ", ", later, "]");
    }
    const std::size_t stages = shape_.stage_bytes.size();
    if (!radii.empty() && (radii.rows() != count || radii.cols() != stages)) {
        fail(
            ErrorKind::kInvalidArgument, "Error radii have a shape other than the rows ask for: [",
            radii.rows(), ", ", radii.cols(), "], expected [", count, ", ", stages, "]");
    }
    if (count > std::numeric_limits<std::uint32_t>::max() - rows()) {
        fail(
            ErrorKind::kResourceExhausted, "Index holds at most 4294967295 rows; it has ", rows(),
            ", more asked for: ", count);
    }
    // Rows that restore() knew come first; the others are computed.
    const std::size_t known = covered_.rows > rows() ? std::min(count, covered_.rows - rows()) : 0;
    const auto covered = [&](const auto& values) {
        const std::span all(values);
        return all.empty() ? all : all.subspan(rows(), known);
    };
    const MatrixView<const std::byte> rest = heads.slice(known, count - known);
    std::vector<std::uint32_t> lists(known * copies());
    if (!covered_.lists.empty()) {
        std::copy_n(
            covered_.lists.begin() + static_cast<std::ptrdiff_t>(rows() * copies()), lists.size(),
            lists.begin());
    }
    append_all<std::uint32_t>(lists, assign(rest));
    std::vector<float> terms(covered(covered_.terms).begin(), covered(covered_.terms).end());
    std::vector<std::uint8_t> levels(
        covered(covered_.levels).begin(), covered(covered_.levels).end());
    if (scan_term_kind() != TermKind::kNone && !rest.empty()) {
        std::vector<float> computed(rest.rows());
        compressor_->row_terms(rest, computed);
        if (scan_term_kind() == TermKind::kFloat) {
            append_all<float>(terms, computed);
        } else {
            std::ranges::transform(computed, std::back_inserter(levels), [&](float term) {
                return scale_.level(term);
            });
        }
    }
    for (std::vector<float>& column : rank_terms_) {
        grow(column, count);
    }
    const std::size_t first = rows();
    if (shape_.error_radii) {
        grow(radii_, count * stages);
    }
    append(heads, lists, terms, levels);
    if (shape_.error_radii) {
        radii_.resize((first + count) * stages, kUnknownRadius);
        const std::span<ErrorRadius> added = std::span(radii_).subspan(first * stages);
        if (!radii.empty()) {
            std::copy_n(radii.data(), added.size(), added.data());
        } else if (!covered_.radii.empty()) {
            std::copy_n(covered_.radii.data() + first * stages, known * stages, added.data());
        }
    }
    for (std::size_t stage = 0; stage < rank_terms_.size(); ++stage) {
        for (std::size_t i = 0; i < count; ++i) {
            rank_terms_[stage].push_back(
                rank_terms.empty() ? kUnknownTerm : rank_terms.row(i)[stage]);
        }
    }
    if (rows() >= covered_.rows) {
        covered_ = {};
    }
    cover_rows();
}

CoarseTraits StagedIndex::coarse_traits() const {
    return structure_ != nullptr ? structure_->traits()
                                 : CoarseTraits{
                                       .takes_ef_search = false,
                                       .lists = shape_.nlist,
                                       .nprobe = default_nprobe_,
                                       .training_rows = std::max<std::size_t>(shape_.nlist, 1)};
}

HeadRows StagedIndex::head_rows() const noexcept {
    const List& list = lists_.front();
    return {
        compressor_.get(),
        {list.heads.data(), list_rows(list), head_bytes()},
        list.levels,
        list.terms,
        level_terms()};
}

/// Returns the structure, there being one, for a change that no other index is to see.
CoarseStructure& StagedIndex::own_structure() {
    if (structure_.use_count() > 1) {
        structure_ = structure_->clone();
    }
    return *structure_;
}

/// Rows that a structure does not cover are scanned, so what fails here costs speed and no answer.
void StagedIndex::cover_rows() {
    if (structure_ == nullptr || rows() <= structure_->rows()) {
        return;
    }
    try {
        own_structure().add(head_rows());
    } catch (const std::bad_alloc&) { // NOLINT(bugprone-empty-catch)
        // The next call tries again.
    }
}

/// Reserves first and appends then, so that running out of memory changes nothing.
void StagedIndex::append(
    MatrixView<const std::byte> heads, std::span<const std::uint32_t> lists,
    std::span<const float> terms, std::span<const std::uint8_t> levels) {
    std::vector<std::size_t> counts(lists_.size());
    for (const std::uint32_t list : lists) {
        ++counts[list];
    }
    for (std::size_t i = 0; i < lists_.size(); ++i) {
        grow(lists_[i].heads, counts[i] * head_bytes());
        grow(lists_[i].rows, list_count() > 1 ? counts[i] : 0);
        grow(lists_[i].terms, terms.empty() ? 0 : counts[i]);
        grow(lists_[i].levels, levels.empty() ? 0 : counts[i]);
    }
    const std::size_t first = rows();
    live_.resize(first + heads.rows(), true);
    for (std::size_t copy = 0; copy < lists.size(); ++copy) {
        const std::size_t i = copy / copies();
        List& list = lists_[lists[copy]];
        append_all<std::byte>(list.heads, heads.row(i));
        if (list_count() > 1) {
            list.rows.push_back(static_cast<std::uint32_t>(first + i));
        }
        if (!terms.empty()) {
            list.terms.push_back(terms[i]);
        }
        if (!levels.empty()) {
            list.levels.push_back(levels[i]);
        }
    }
}

std::vector<float> StagedIndex::rank_terms(MatrixView<const std::byte> codes) const {
    if (codes.cols() != code_bytes()) {
        fail(
            ErrorKind::kInvalidArgument,
            "Codes have a width other than the index's: ", codes.cols(), ", expected ",
            code_bytes());
    }
    const std::size_t later = shape_.stage_bytes.size() - 1;
    std::vector<float> terms(codes.rows() * later);
    std::vector<float> column(codes.rows());
    for (std::size_t stage = 0; stage < later; ++stage) {
        const std::size_t width = shape_.stage_bytes[stage + 1];
        const std::vector<std::byte> prefix = prefixes(codes, width);
        compressor_->row_terms({prefix.data(), codes.rows(), width}, column);
        for (std::size_t i = 0; i < codes.rows(); ++i) {
            terms[i * later + stage] = column[i];
        }
    }
    return terms;
}

void StagedIndex::erase(std::span<const std::uint64_t> rows_to_erase) {
    for (const std::uint64_t row : rows_to_erase) {
        if (row >= rows()) {
            fail(ErrorKind::kInvalidArgument, "Row does not exist: ", row, ", of ", rows());
        }
    }
    for (const std::uint64_t row : rows_to_erase) {
        erased_ += live_[row] ? 1 : 0;
        live_[row] = false;
    }
}

void StagedIndex::compact() {
    if (structure_ != nullptr) {
        (void)own_structure(); // Where there is no memory for a copy nothing has changed yet.
    }
    std::vector<std::uint32_t> number(rows());
    std::uint32_t next = 0;
    for (std::size_t row = 0; row < rows(); ++row) {
        number[row] = next;
        next += live_[row] ? 1 : 0;
    }
    covered_ = {}; // It speaks of the old numbers.
    for (std::vector<float>& column : rank_terms_) {
        keep_if(column, 1, [&](std::size_t row) { return live_[row]; });
    }
    keep_if(radii_, shape_.stage_bytes.size(), [&](std::size_t row) { return live_[row]; });
    for (List& list : lists_) {
        const auto is_kept = [&](std::size_t place) { return live_[row_at(list, place)]; };
        keep_if(list.heads, head_bytes(), is_kept);
        keep_if(list.levels, 1, is_kept);
        keep_if(list.terms, 1, is_kept);
        for (std::uint32_t& row : list.rows) {
            row = live_[row] ? number[row] : std::numeric_limits<std::uint32_t>::max();
        }
        std::erase(list.rows, std::numeric_limits<std::uint32_t>::max());
        list.rows.shrink_to_fit();
    }
    if (structure_ != nullptr) {
        for (std::size_t row = 0; row < rows(); ++row) {
            number[row] = live_[row] ? number[row] : CoarseStructure::kDropped;
        }
        try {
            structure_->compact(head_rows(), number);
        } catch (const std::bad_alloc&) {
            structure_->clear(); // Every row is scanned until there is memory again.
        }
    }
    live_.assign(next, true);
    erased_ = 0;
}

void StagedIndex::clear() {
    for (List& list : lists_) {
        list = {};
    }
    for (std::vector<float>& column : rank_terms_) {
        column.clear();
    }
    radii_.clear();
    live_.clear();
    erased_ = 0;
    covered_ = {};
    if (structure_ != nullptr) {
        own_structure().clear();
    }
}

void StagedIndex::read_heads(
    std::span<const std::uint64_t> wanted, MatrixView<std::byte> heads) const {
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        if (wanted[i] >= rows()) {
            fail(ErrorKind::kInvalidArgument, "Row does not exist: ", wanted[i], ", of ", rows());
        }
        std::copy_n(
            head_of(static_cast<std::uint32_t>(wanted[i])), head_bytes(), heads.row(i).data());
    }
}

/// Which list holds a row is not kept: four bytes a row against a few comparisons of a rare call.
const std::byte* StagedIndex::head_of(std::uint32_t row) const noexcept {
    if (list_count() == 1) {
        return lists_.front().heads.data() + row * head_bytes();
    }
    for (const List& list : own_lists()) {
        const auto found = std::ranges::lower_bound(list.rows, row);
        if (found != list.rows.end() && *found == row) {
            return list.heads.data() +
                   static_cast<std::size_t>(found - list.rows.begin()) * head_bytes();
        }
    }
    return nullptr;
}

std::vector<std::uint32_t> StagedIndex::list_of_row() const {
    std::vector<std::uint32_t> lists(rows() * copies());
    for (std::size_t i = 0; list_count() > 1 && i < lists_.size(); ++i) {
        const std::size_t copy = i / list_count();
        for (const std::uint32_t row : lists_[i].rows) {
            lists[row * copies() + copy] = static_cast<std::uint32_t>(i);
        }
    }
    return lists;
}

std::vector<std::byte> StagedIndex::all_heads() const {
    std::vector<std::byte> heads(rows() * head_bytes());
    for (const List& list : own_lists()) {
        for (std::size_t place = 0; place < list_rows(list); ++place) {
            std::copy_n(
                list.heads.data() + place * head_bytes(), head_bytes(),
                heads.data() + std::size_t{row_at(list, place)} * head_bytes());
        }
    }
    return heads;
}

StagedBytes StagedIndex::resident_bytes() const noexcept {
    StagedBytes bytes;
    for (const List& list : lists_) {
        bytes.heads += list.heads.size();
        bytes.scan_terms += list.levels.size() + list.terms.size() * sizeof(float);
        bytes.lists += list.rows.size() * sizeof(std::uint32_t);
    }
    for (const std::vector<float>& column : rank_terms_) {
        bytes.rank_terms += column.size() * sizeof(float);
    }
    bytes.error_radii = radii_.size() * sizeof(ErrorRadius);
    bytes.calibration = calibration_.bytes();
    bytes.lists += (rows() + 7) / 8 + coarse_.nlist() * coarse_.dim() * sizeof(float);
    bytes.structure = structure_ == nullptr ? 0 : structure_->bytes();
    return bytes;
}

std::string StagedIndex::save(std::uint64_t sequence) const {
    ByteWriter out;
    out.array(std::span<const char>(kMagic));
    out.number(kFormat);
    out.text(compressor_->id());
    out.number(sequence);
    out.number(static_cast<std::uint32_t>(shape_.stage_bytes.size()));
    for (const std::size_t bytes : shape_.stage_bytes) {
        out.number(static_cast<std::uint32_t>(bytes));
    }
    out.number(static_cast<std::uint32_t>(shape_.nlist));
    out.text(shape_.coarse);
    out.number(static_cast<std::uint8_t>(shape_.error_radii ? 1 : 0));
    out.number(learned_rows_);
    out.number(scale_.low);
    out.number(scale_.high);
    for (const std::size_t limit : default_limits_) {
        out.number(static_cast<std::uint64_t>(limit));
    }
    out.number(static_cast<std::uint32_t>(default_nprobe_));
    out.number(static_cast<std::uint8_t>(copies()));
    out.array(std::span<const float>(coarse_.centroids()));
    calibration_.write(out);
    out.number(static_cast<std::uint64_t>(rows()));
    if (list_count() > 1) {
        out.array(std::span<const std::uint32_t>(list_of_row()));
    }
    const TermKind kind = scan_term_kind();
    std::vector<float> terms(kind == TermKind::kFloat ? rows() : 0);
    std::vector<std::uint8_t> levels(kind == TermKind::kLevel ? rows() : 0);
    for (const List& list : own_lists()) {
        for (std::size_t place = 0; place < list.terms.size(); ++place) {
            terms[row_at(list, place)] = list.terms[place];
        }
        for (std::size_t place = 0; place < list.levels.size(); ++place) {
            levels[row_at(list, place)] = list.levels[place];
        }
    }
    out.array(std::span<const float>(terms));
    out.array(std::span<const std::uint8_t>(levels));
    out.array(std::span<const ErrorRadius>(radii_));
    if (structure_ != nullptr) {
        structure_->save(out);
    }
    const std::string digest = sha256_hex(out.bytes());
    out.array(std::span<const char>(digest));
    return std::move(out).take();
}

StagedIndex::Restored StagedIndex::restore(std::string_view bytes) {
    if (rows() > 0) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Coarse file is restored into an empty index only; it has rows: ", rows());
    }
    if (bytes.size() < kMagic.size() + sizeof(kFormat) + kDigestSize ||
        bytes.substr(0, kMagic.size()) != kMagic) {
        fail(
            ErrorKind::kCorruption,
            "Coarse file does not begin as one, or is too short, in bytes: ", bytes.size());
    }
    ByteReader in(bytes.substr(0, bytes.size() - kDigestSize), kWhat);
    (void)in.array<char>(kMagic.size());
    const auto format = in.number<std::uint32_t>();
    if (format > kFormat) {
        fail(
            ErrorKind::kUnsupported, "Coarse file is of a newer format: ", format,
            ", this version reads up to ", kFormat);
    }
    if (sha256_hex(bytes.substr(0, bytes.size() - kDigestSize)) !=
        bytes.substr(bytes.size() - kDigestSize)) {
        fail(
            ErrorKind::kCorruption, "Coarse file differs from its checksum; bytes: ", bytes.size());
    }
    if (const std::string_view id = in.text(); id != compressor_->id()) {
        fail(
            ErrorKind::kFailedPrecondition, "Coarse file was made with another model: ", id,
            ", expected ", compressor_->id());
    }
    Restored restored;
    restored.sequence = in.number<std::uint64_t>();
    const std::vector<std::uint32_t> stages = in.array<std::uint32_t>(in.number<std::uint32_t>());
    const auto nlist = in.number<std::uint32_t>();
    const std::string_view coarse = in.text();
    const bool has_radii = format > 0 && in.number<std::uint8_t>() != 0;
    if (!std::ranges::equal(stages, shape_.stage_bytes) || nlist != shape_.nlist ||
        coarse != shape_.coarse || has_radii != shape_.error_radii) {
        fail(
            ErrorKind::kFailedPrecondition,
            "Coarse file was made for another factory string: ", stages.size(), " prefixes, ",
            nlist, " lists, \"", coarse, "\" and radii ", has_radii, ", expected ",
            shape_.stage_bytes.size(), ", ", shape_.nlist, ", \"", shape_.coarse, "\" and ",
            shape_.error_radii);
    }
    read_training_and_rows(in, format, restored);
    return restored;
}

void StagedIndex::read_training_and_rows(ByteReader& in, std::uint32_t format, Restored& restored) {
    StagedIndex read(compressor_, shape_);
    read.learned_rows_ = in.number<std::uint64_t>();
    read.scale_.low = in.number<float>();
    read.scale_.high = in.number<float>();
    in.require(
        std::isfinite(read.scale_.low) && std::isfinite(read.scale_.high),
        "the scale of row terms is not finite");
    if (read.is_trained()) {
        for (const std::uint64_t limit : in.array<std::uint64_t>(shape_.stage_bytes.size() - 1)) {
            read.default_limits_.push_back(limit);
        }
    }
    read.default_nprobe_ = in.number<std::uint32_t>();
    const std::size_t lists = read.is_trained() && shape_.nlist > 1 ? shape_.nlist : 1;
    in.require(
        read.default_nprobe_ >= 1 && read.default_nprobe_ <= lists, "nprobe ", read.default_nprobe_,
        " of ", lists, " lists");
    const auto copies = in.number<std::uint8_t>();
    in.require(
        copies >= 1 && copies <= std::min(lists, kMostListsPerRow), "lists a row ", int{copies});
    if (lists > 1) {
        std::vector<float> centroids = in.array<float>(std::uint64_t{lists} * compressor_->dim());
        in.require(
            std::ranges::all_of(centroids, [](float value) { return std::isfinite(value); }),
            "a centroid is not finite");
        read.coarse_ = CoarseQuantizer(compressor_->metric(), compressor_->dim(), centroids);
        read.lists_.resize(lists * copies);
    }
    if (format > 0) {
        read.calibration_ = Calibration::read(in, shape_.stage_bytes.size(), lists);
    }
    const auto count = in.number<std::uint64_t>();
    in.require(count <= std::numeric_limits<std::uint32_t>::max(), "row count ", count);
    read.covered_.rows = count;
    if (lists > 1) {
        read.covered_.lists = in.array<std::uint32_t>(count * copies);
        for (std::size_t i = 0; i < read.covered_.lists.size(); ++i) { // First lists come first.
            const std::uint32_t list = read.covered_.lists[i];
            in.require(
                list / lists == i % copies, "row ", i / copies, " is in list ", list, " of ",
                lists);
        }
    }
    if (read.scan_term_kind() == TermKind::kFloat) {
        read.covered_.terms = in.array<float>(count);
    } else if (read.scan_term_kind() == TermKind::kLevel) {
        read.covered_.levels = in.array<std::uint8_t>(count);
    }
    if (shape_.error_radii) {
        read.covered_.radii = in.array<ErrorRadius>(count * shape_.stage_bytes.size());
    }
    if (read.structure_ != nullptr) {
        read.structure_->restore(in, count);
    }
    in.finish();
    restored.rows = count;
    *this = std::move(read);
}

} // namespace arfc
