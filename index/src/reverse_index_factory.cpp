#include <faiss/Index2Layer.h>
#include <faiss/IndexAdditiveQuantizer.h>
#include <faiss/IndexAdditiveQuantizerFastScan.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFAdditiveQuantizer.h>
#include <faiss/IndexIVFAdditiveQuantizerFastScan.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexIVFPQR.h>
#include <faiss/IndexIVFSpectralHash.h>
#include <faiss/IndexLSH.h>
#include <faiss/IndexLattice.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPQFastScan.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexRowwiseMinMax.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/VectorTransform.h>

#include <sstream>
#include <string>
#include <typeinfo>

#include "arfc/base/error.h"
#include "arfc/index/arfc_index.h"
#include "arfc/index/index_factory.h"
#include "transformed_index.h"

// FAISS 1.7.3 has no function that tells an index's string. Each function here tells that of one
// family; a string names what the factory takes and what the index keeps, nothing set later.
namespace arfc {
namespace {

using SearchType = faiss::AdditiveQuantizer::Search_type_t;

template <class... Parts>
std::string text(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

[[noreturn]] void refuse(const char* what, const std::type_info& type) {
    fail(
        ErrorKind::kUnsupported, "No factory string is known that makes this ", what, ": ",
        type.name());
}

template <class Kind>
const Kind* as(const faiss::Index& index) {
    return dynamic_cast<const Kind*>(&index);
}

std::string scalar(const faiss::ScalarQuantizer& quantizer, const faiss::Index& index) {
    switch (quantizer.qtype) {
        case faiss::ScalarQuantizer::QT_8bit: return "SQ8";
        case faiss::ScalarQuantizer::QT_4bit: return "SQ4";
        case faiss::ScalarQuantizer::QT_6bit: return "SQ6";
        case faiss::ScalarQuantizer::QT_fp16: return "SQfp16";
        default: refuse("scalar quantizer", typeid(index));
    }
}

std::string product(const faiss::ProductQuantizer& pq, bool is_polysemous) {
    return text("PQ", pq.M, pq.nbits == 8 ? "" : text("x", pq.nbits), is_polysemous ? "" : "np");
}

/// "_64" where the block size of a fast scan is not the usual one.
std::string block(int size) {
    return size == 32 ? "" : text("_", size);
}

std::string norm(SearchType type, const faiss::Index& index) {
    const SearchType usual = index.metric_type == faiss::METRIC_L2
                               ? faiss::AdditiveQuantizer::ST_decompress
                               : faiss::AdditiveQuantizer::ST_LUT_nonorm;
    if (type == usual) {
        return "";
    }
    switch (type) {
        case faiss::AdditiveQuantizer::ST_LUT_nonorm: return "_Nnone";
        case faiss::AdditiveQuantizer::ST_norm_float: return "_Nfloat";
        case faiss::AdditiveQuantizer::ST_norm_qint8: return "_Nqint8";
        case faiss::AdditiveQuantizer::ST_norm_qint4: return "_Nqint4";
        case faiss::AdditiveQuantizer::ST_norm_cqint8: return "_Ncqint8";
        case faiss::AdditiveQuantizer::ST_norm_cqint4: return "_Ncqint4";
        case faiss::AdditiveQuantizer::ST_norm_lsq2x4: return "_Nlsq2x4";
        case faiss::AdditiveQuantizer::ST_norm_rq2x4: return "_Nrq2x4";
        default: refuse("additive quantizer", typeid(index));
    }
}

/// "2x8_3x4": codebooks of equal size together.
std::string codebooks(const std::vector<std::size_t>& bits) {
    std::string out;
    for (std::size_t first = 0, end = 0; first < bits.size(); first = end) {
        while (end < bits.size() && bits[end] == bits[first]) {
            ++end;
        }
        out += text(first == 0 ? "" : "_", end - first, "x", bits[first]);
    }
    return out;
}

/// The string of an additive quantizer, without how norms are kept.
/// @param fast  "4fs" and what follows it; empty where codes are not scanned fast.
std::string additive(
    const faiss::AdditiveQuantizer& quantizer, const std::string& fast, const faiss::Index& index) {
    if (const auto* const splits =
            dynamic_cast<const faiss::ProductAdditiveQuantizer*>(&quantizer)) {
        const faiss::AdditiveQuantizer& part = *splits->quantizers.front();
        const bool is_residual = dynamic_cast<const faiss::ResidualQuantizer*>(&part) != nullptr;
        return text(
            is_residual ? "PRQ" : "PLSQ", splits->nsplits, "x", part.M, "x",
            fast.empty() ? text(part.nbits.front()) : fast);
    }
    const bool is_residual = dynamic_cast<const faiss::ResidualQuantizer*>(&quantizer) != nullptr;
    if (!is_residual && dynamic_cast<const faiss::LocalSearchQuantizer*>(&quantizer) == nullptr) {
        refuse("additive quantizer", typeid(index));
    }
    return text(
        is_residual ? "RQ" : "LSQ",
        fast.empty() ? codebooks(quantizer.nbits) : text(quantizer.M, "x", fast));
}

std::string transform(const faiss::VectorTransform& of) {
    if (const auto* const pca = dynamic_cast<const faiss::PCAMatrix*>(&of)) {
        const bool is_white = pca->eigen_power == -0.5F;
        if (is_white || pca->eigen_power == 0) {
            return text("PCA", is_white ? "W" : "", pca->random_rotation ? "R" : "", pca->d_out);
        }
    } else if (const auto* const opq = dynamic_cast<const faiss::OPQMatrix*>(&of)) {
        return text("OPQ", opq->M, opq->d_out == opq->d_in ? "" : text("_", opq->d_out));
    } else if (dynamic_cast<const faiss::RandomRotationMatrix*>(&of) != nullptr) {
        return text("RR", of.d_out == of.d_in ? "" : text(of.d_out));
    } else if (const auto* const itq = dynamic_cast<const faiss::ITQTransform*>(&of)) {
        return text("ITQ", itq->do_pca ? text(itq->d_out) : "");
    } else if (const auto* const norm = dynamic_cast<const faiss::NormalizationTransform*>(&of)) {
        if (norm->norm == 2) {
            return "L2norm";
        }
    } else if (dynamic_cast<const faiss::RemapDimensionsTransform*>(&of) != nullptr) {
        return text("Pad", of.d_out);
    }
    refuse("transform", typeid(of));
}

/// "PCAR16,SH-1e+10g": how FAISS names the transform inside a spectral hash.
std::string spectral_hash(const faiss::IndexIVFSpectralHash& index) {
    const bool is_plain = index.period < -1e9F; // FAISS's default: no period.
    const char* threshold = "";
    switch (index.threshold_type) {
        case faiss::IndexIVFSpectralHash::Thresh_global: threshold = ""; break;
        case faiss::IndexIVFSpectralHash::Thresh_centroid: threshold = "c"; break;
        case faiss::IndexIVFSpectralHash::Thresh_median: threshold = "m"; break;
        default: refuse("spectral hash", typeid(index));
    }
    if (dynamic_cast<const faiss::RandomRotationMatrix*>(index.vt) != nullptr) {
        refuse("spectral hash", typeid(index)); // Not from a string.
    }
    return text(
        transform(*index.vt), ",SH", is_plain ? std::string() : text(index.period), threshold);
}

/// What stands after the comma of "IVF256,...".
std::string codes(const faiss::IndexIVF& index) {
    if (as<faiss::IndexIVFFlatDedup>(index) != nullptr) {
        return "FlatDedup";
    }
    if (as<faiss::IndexIVFFlat>(index) != nullptr) {
        return "Flat";
    }
    if (const auto* const sq = as<faiss::IndexIVFScalarQuantizer>(index)) {
        return scalar(sq->sq, index);
    }
    if (const auto* const refined = as<faiss::IndexIVFPQR>(index)) {
        return text("PQ", refined->pq.M, "+", refined->refine_pq.M);
    }
    if (const auto* const pq = as<faiss::IndexIVFPQ>(index)) {
        return product(pq->pq, pq->do_polysemous_training);
    }
    if (const auto* const fast = as<faiss::IndexIVFPQFastScan>(index)) {
        return text("PQ", fast->pq.M, "x4fs", fast->by_residual ? "r" : "", block(fast->bbs));
    }
    if (const auto* const fast = as<faiss::IndexIVFAdditiveQuantizerFastScan>(index)) {
        const std::string how = text("4fs", fast->by_residual ? "r" : "", block(fast->bbs));
        return additive(*fast->aq, how, index) + norm(fast->aq->search_type, index);
    }
    if (const auto* const sum = as<faiss::IndexIVFAdditiveQuantizer>(index)) {
        return additive(*sum->aq, "", index) + norm(sum->aq->search_type, index);
    }
    if (const auto* const hash = as<faiss::IndexIVFSpectralHash>(index)) {
        return spectral_hash(*hash);
    }
    refuse("IVF index", typeid(index));
}

/// "IVF256", "IVF256_HNSW32", "IMI2x8", "IVF256(PQ8)".
std::string lists(const faiss::IndexIVF& index) {
    const faiss::Index& coarse = *index.quantizer;
    if (as<faiss::IndexFlat>(coarse) != nullptr) {
        return text("IVF", index.nlist);
    }
    if (const auto* const product = as<faiss::MultiIndexQuantizer>(coarse)) {
        return text("IMI", product->pq.M, "x", product->pq.nbits);
    }
    if (const auto* const hnsw = as<faiss::IndexHNSWFlat>(coarse)) {
        return text("IVF", index.nlist, "_HNSW", hnsw->hnsw.nb_neighbors(1));
    }
    if (const auto* const nsg = as<faiss::IndexNSGFlat>(coarse)) {
        return text("IVF", index.nlist, "_NSG", nsg->nsg.R);
    }
    return text("IVF", index.nlist, "(", reverse_index_factory(coarse), ")");
}

std::string two_layers(const faiss::Index2Layer& index) {
    const auto* const multi = dynamic_cast<const faiss::MultiIndexQuantizer*>(index.q1.quantizer);
    return text(
        "Residual",
        multi == nullptr ? text(index.q1.nlist) : text(multi->pq.M, "x", multi->pq.nbits), ",",
        product(index.pq, true));
}

std::string graph(const faiss::IndexHNSW& index) {
    std::string begin = text("HNSW", index.hnsw.nb_neighbors(1));
    if (as<faiss::IndexHNSWFlat>(index) != nullptr) {
        return begin;
    }
    if (const auto* const pq = as<faiss::IndexPQ>(*index.storage)) {
        return text(begin, ",", product(pq->pq, pq->do_polysemous_training));
    }
    if (const auto* const sq = as<faiss::IndexScalarQuantizer>(*index.storage)) {
        return text(begin, ",", scalar(sq->sq, index));
    }
    if (const auto* const two = as<faiss::Index2Layer>(*index.storage)) {
        const auto* const multi =
            dynamic_cast<const faiss::MultiIndexQuantizer*>(two->q1.quantizer);
        return text(
            begin, ",", multi == nullptr ? text(two->q1.nlist) : text("2x", multi->pq.nbits), "+PQ",
            two->pq.M);
    }
    refuse("graph", typeid(index));
}

std::string graph(const faiss::IndexNSG& index) {
    std::string begin = text("NSG", index.nsg.R);
    if (as<faiss::IndexNSGFlat>(index) != nullptr) {
        return begin;
    }
    if (const auto* const pq = as<faiss::IndexPQ>(*index.storage)) {
        return text(begin, ",", product(pq->pq, pq->do_polysemous_training));
    }
    if (const auto* const sq = as<faiss::IndexScalarQuantizer>(*index.storage)) {
        return text(begin, ",", scalar(sq->sq, index));
    }
    refuse("graph", typeid(index));
}

std::string hash(const faiss::IndexLSH& index) {
    if (index.nbits != index.d) { // The grammar has no place for another number.
        refuse("hash", typeid(index));
    }
    return text("LSH", index.rotate_data ? "r" : "", index.train_thresholds ? "t" : "");
}

/// Indexes that keep codes, and no other index.
std::string plain(const faiss::Index& index) {
    if (as<faiss::IndexFlat>(index) != nullptr) {
        return "Flat";
    }
    if (const auto* const lsh = as<faiss::IndexLSH>(index)) {
        return hash(*lsh);
    }
    if (const auto* const lattice = as<faiss::IndexLattice>(index)) {
        return text(
            "ZnLattice", lattice->nsq, "x", lattice->zn_sphere_codec.r2, "_", lattice->scale_nbit);
    }
    if (const auto* const sq = as<faiss::IndexScalarQuantizer>(index)) {
        return scalar(sq->sq, index);
    }
    if (const auto* const pq = as<faiss::IndexPQ>(index)) {
        return product(pq->pq, pq->do_polysemous_training);
    }
    if (const auto* const fast = as<faiss::IndexPQFastScan>(index)) {
        return text("PQ", fast->pq.M, "x4fs", block(fast->bbs));
    }
    if (const auto* const fast = as<faiss::IndexAdditiveQuantizerFastScan>(index)) {
        return additive(*fast->aq, text("4fs", block(fast->bbs)), index) +
               norm(fast->aq->search_type, index);
    }
    if (const auto* const coarse = as<faiss::ResidualCoarseQuantizer>(index)) {
        return text("RCQ", codebooks(coarse->rq.nbits));
    }
    if (const auto* const coarse = as<faiss::LocalSearchCoarseQuantizer>(index)) {
        return text("LSCQ", codebooks(coarse->lsq.nbits));
    }
    if (const auto* const sum = as<faiss::IndexAdditiveQuantizer>(index)) {
        return additive(*sum->aq, "", index) + norm(sum->aq->search_type, index);
    }
    refuse("index", typeid(index));
}

std::string transforms(const faiss::IndexPreTransform& index) {
    if (const auto* const ours = dynamic_cast<const TransformedIndex*>(&index)) {
        return ours->transforms() + ",";
    }
    std::string out;
    for (const faiss::VectorTransform* const one : index.chain) {
        out += transform(*one) + ",";
    }
    return out;
}

} // namespace

std::string reverse_index_factory(const faiss::Index& index) {
    if (const auto* const arfc = as<ArfcIndex>(index)) {
        return arfc->factory();
    }
    if (const auto* const map = as<faiss::IndexIDMap>(index)) {
        const bool finds_by_id = as<faiss::IndexIDMap2>(index) != nullptr;
        return (finds_by_id ? "IDMap2," : "IDMap,") + reverse_index_factory(*map->index);
    }
    if (const auto* const transformed = as<faiss::IndexPreTransform>(index)) {
        return transforms(*transformed) + reverse_index_factory(*transformed->index);
    }
    if (const auto* const refine = as<faiss::IndexRefine>(index)) {
        const std::string base = reverse_index_factory(*refine->base_index);
        return as<faiss::IndexFlat>(*refine->refine_index) != nullptr
                 ? base + ",RFlat"
                 : base + ",Refine(" + reverse_index_factory(*refine->refine_index) + ")";
    }
    if (const auto* const scaled = as<faiss::IndexRowwiseMinMaxBase>(index)) {
        const bool is_half = as<faiss::IndexRowwiseMinMaxFP16>(index) != nullptr;
        return (is_half ? "MinMaxFP16," : "MinMax,") + reverse_index_factory(*scaled->index);
    }
    if (const auto* const ivf = as<faiss::IndexIVF>(index)) {
        return lists(*ivf) + "," + codes(*ivf);
    }
    if (const auto* const two = as<faiss::Index2Layer>(index)) {
        return two_layers(*two);
    }
    if (const auto* const hnsw = as<faiss::IndexHNSW>(index)) {
        return graph(*hnsw);
    }
    if (const auto* const nsg = as<faiss::IndexNSG>(index)) {
        return graph(*nsg);
    }
    return plain(index);
}

} // namespace arfc
