#include <faiss/IndexAdditiveQuantizer.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFSpectralHash.h>
#include <faiss/IndexLSH.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/IndexShards.h>
#include <faiss/VectorTransform.h>
#include <gtest/gtest.h>

#include <string>
#include <typeinfo>

#include "arfc/index/arfc_index.h"
#include "arfc/index/index_factory.h"
#include "expect_error.h"

namespace arfc {
namespace {

constexpr int kWidth = 32;

class ReverseIndexFactory : public testing::TestWithParam<const char*> {};

TEST_P(ReverseIndexFactory, TellsTheStringThatMadeTheIndex) {
    const std::string description = GetParam();
    const auto index = index_factory(kWidth, description, faiss::METRIC_L2);
    EXPECT_EQ(reverse_index_factory(*index), description);
    const auto again = index_factory(index->d, reverse_index_factory(*index), index->metric_type);
    const faiss::Index& left = *index;
    const faiss::Index& right = *again;
    EXPECT_EQ(typeid(left), typeid(right));
}

INSTANTIATE_TEST_SUITE_P(
    Arfc, ReverseIndexFactory,
    testing::Values(
        "ARFC96", "ARFC96/16", "ARFC96/32/8", "ARFC96/16,IVF256", "IDMap,ARFC8", "IDMap2,ARFC8/4",
        "IDMap2,ARFC96/16,IVF256", "PCA16,ARFC8", "PCAWR16,L2norm,ARFC8/4", "OPQ4_16,ARFC8/4,IVF4",
        "IDMap2,OPQ8,ARFC8", "RR,ITQ16,Pad20,ARFC8", "ARFC96,HNSW2", "ARFC96/16,HNSW32",
        "IDMap2,ARFC96/32/8,HNSW256", "IDMap2,PCA16,L2norm,ARFC8/4,HNSW8"));

INSTANTIATE_TEST_SUITE_P(
    Flat, ReverseIndexFactory,
    testing::Values(
        "Flat", "IDMap,Flat", "IDMap2,Flat", "SQ8", "SQ4", "SQ6", "SQfp16", "PQ8", "PQ8np", "PQ8x4",
        "PQ8x4fs", "PQ8x4fs_64", "LSH", "LSHr", "LSHt", "LSHrt", "ZnLattice2x6_8", "RQ4x8",
        "RQ2x8_3x6", "RQ4x8_Nqint8", "RQ4x8_Nfloat", "RQ4x8_Nqint4", "RQ4x8_Ncqint8", "RQ4x8_Nnone",
        "RQ4x4fs_Nrq2x4", "LSQ4x4", "LSQ4x4_Ncqint4", "LSQ4x4fs_Nlsq2x4", "PRQ2x2x8",
        "PRQ2x2x8_Nqint8", "PLSQ2x2x4", "PRQ2x4x4fs_Nrq2x4", "PLSQ2x4x4fs_Nlsq2x4", "RCQ2x4",
        "LSCQ2x4", "MinMax,SQ8", "MinMaxFP16,SQ8"));

INSTANTIATE_TEST_SUITE_P(
    Composite, ReverseIndexFactory,
    testing::Values(
        "PCA16,Flat", "PCAR16,PQ4", "PCAW16,SQ8", "PCAWR16,Flat", "OPQ4,PQ4x4", "OPQ4_16,PQ4",
        "RR,LSH", "RR16,Flat", "ITQ,LSH", "ITQ16,LSH", "L2norm,Flat", "Pad40,Flat",
        "L2norm,PCA16,IVF8,Flat", "Flat,RFlat", "PQ4,RFlat", "PQ4,Refine(SQ8)",
        "IVF8,PQ4x4fs,RFlat", "IDMap2,PCA16,IVF8,PQ4"));

INSTANTIATE_TEST_SUITE_P(
    Lists, ReverseIndexFactory,
    testing::Values(
        "IVF16,Flat", "IVF16,FlatDedup", "IVF16,SQ8", "IVF16,SQfp16", "IVF16,PQ8", "IVF16,PQ8np",
        "IVF16,PQ8x4", "IVF16,PQ8+4", "IVF16,PQ8x4fs", "IVF16,PQ8x4fsr", "IVF16,PQ8x4fsr_64",
        "IVF16,RQ4x8", "IVF16,RQ4x8_Nqint8", "IVF16,LSQ4x4", "IVF16,PRQ2x2x8", "IVF16,PLSQ2x2x4",
        "IVF16,RQ4x4fs_Nrq2x4", "IVF16,LSQ4x4fsr_Nlsq2x4", "IVF16,PRQ2x2x4fs_Nrq2x4",
        "IVF16,PLSQ2x2x4fsr_Nlsq2x4", "IVF16_HNSW8,Flat", "IVF16_NSG8,Flat", "IVF16(PQ4x4),Flat",
        "IVF16(IVF4,Flat),SQ8", "IVF256(RCQ2x4),Flat", "IMI2x4,PQ8", "IVF16,ITQ16,SH",
        "IVF16,PCA16,SH", "IVF16,PCAR16,SH0.5", "IVF16,PCAR16,SH0.5c", "IVF16,PCAR16,SHm",
        "Residual16,PQ8", "Residual2x4,PQ8"));

INSTANTIATE_TEST_SUITE_P(
    Graphs, ReverseIndexFactory,
    testing::Values(
        "HNSW32", "HNSW8", "HNSW8,PQ4", "HNSW8,SQ8", "HNSW8,16+PQ8", "HNSW8,2x4+PQ8", "NSG16",
        "NSG16,SQ8", "IDMap2,HNSW8", "PCA16,HNSW8", "HNSW8,RFlat"));

TEST(ReverseIndexFactoryText, IsCanonical) {
    const std::pair<const char*, const char*> cases[] = {
        {"ARFCx4/x32,IVF4", "ARFC32/4,IVF4"},
        {"PCA16,ARFCx4", "PCA16,ARFC16"},
        {"IDMap,ARFCx4/x32,HNSW08", "IDMap,ARFC32/4,HNSW8"},
        {"PQ8x8", "PQ8"},
        {"HNSW", "HNSW32"},
        {"HNSW_Flat", "HNSW32"},
        {"HNSW16,Flat", "HNSW16"},
        {"Flat,IDMap", "IDMap,Flat"},
        {"Flat,IDMap2", "IDMap2,Flat"},
        {"IVF16_HNSW,Flat", "IVF16_HNSW32,Flat"},
        {"OPQ4_32,PQ4", "OPQ4,PQ4"},
        {"L2Norm,Flat", "L2norm,Flat"},
        {"PQ8x4fs_32", "PQ8x4fs"},
        {"RQ2x8_2x8", "RQ4x8"},
        {"PQ4,Refine(Flat)", "PQ4,RFlat"},
    };
    for (const auto& [given, canonical] : cases) {
        const auto index = index_factory(kWidth, given, faiss::METRIC_L2);
        EXPECT_EQ(reverse_index_factory(*index), canonical) << given;
        const auto again = index_factory(kWidth, canonical, faiss::METRIC_L2);
        EXPECT_EQ(reverse_index_factory(*again), canonical);
    }
}

TEST(ReverseIndexFactoryText, TellsNormsByTheMetric) {
    for (const char* const description :
         {"RQ4x8", "RQ4x8_Nfloat", "IVF16,RQ4x8", "IVF16,LSQ4x4_Nqint8", "RQ4x4fs", "ARFC8/4",
          "IDMap2,PCA16,ARFC8", "ARFC8/4,HNSW16"}) {
        const auto index = index_factory(kWidth, description, faiss::METRIC_INNER_PRODUCT);
        EXPECT_EQ(reverse_index_factory(*index), description);
    }
}

TEST(ReverseIndexFactoryText, RefusesWhatNoStringMakes) {
    faiss::IndexShards shards(kWidth);
    ARFC_EXPECT_ERROR(
        (void)reverse_index_factory(shards), ErrorKind::kUnsupported, "No factory string is known");
    const faiss::IndexLSH few_bits(kWidth, 16);
    ARFC_EXPECT_ERROR(
        (void)reverse_index_factory(few_bits), ErrorKind::kUnsupported, "makes this hash");
    const auto flat = index_factory(kWidth, "Flat", faiss::METRIC_L2);
    faiss::LinearTransform any(kWidth, kWidth);
    faiss::IndexPreTransform transformed(&any, flat.get());
    ARFC_EXPECT_ERROR(
        (void)reverse_index_factory(transformed), ErrorKind::kUnsupported, "this transform");
}

/// An index of lists that FAISS's grammar does not know.
struct StrangeLists final : faiss::IndexIVF {
    using faiss::IndexIVF::IndexIVF;
    void encode_vectors(
        std::int64_t /*n*/, const float* /*x*/, const std::int64_t* /*lists*/,
        std::uint8_t* /*codes*/, bool /*include_lists*/) const override {}
};

TEST(ReverseIndexFactoryText, RefusesStrangeParts) {
    const auto refuse = [](const faiss::Index& index, const std::string& what) {
        ARFC_EXPECT_ERROR(
            (void)reverse_index_factory(index), ErrorKind::kUnsupported,
            "No factory string is known that makes this " + what + ": ");
    };
    faiss::IndexFlatL2 flat(kWidth);
    refuse(StrangeLists(&flat, kWidth, 4, 8), "IVF index");
    refuse(faiss::IndexIVFSpectralHash(&flat, kWidth, 4, 8, 1.0F), "spectral hash");
    faiss::IndexIVFSpectralHash half(&flat, kWidth, 4, 8, 1.0F);
    half.threshold_type = faiss::IndexIVFSpectralHash::Thresh_centroid_half;
    refuse(half, "spectral hash");
    refuse(
        faiss::IndexScalarQuantizer(kWidth, faiss::ScalarQuantizer::QT_8bit_uniform),
        "scalar quantizer");
    faiss::IndexLSH storage(kWidth, kWidth);
    refuse(faiss::IndexHNSW(&storage, 8), "graph");
    refuse(faiss::IndexNSG(&storage, 8), "graph");
    faiss::IndexResidualQuantizer sum(kWidth, 4, 8);
    sum.rq.search_type = faiss::AdditiveQuantizer::ST_norm_from_LUT;
    refuse(sum, "additive quantizer");
    faiss::NormalizationTransform manhattan(kWidth, 1.0F);
    refuse(faiss::IndexPreTransform(&manhattan, &flat), "transform");
    faiss::PCAMatrix half_white(kWidth, 8, -0.25F);
    faiss::IndexFlatL2 narrow(8);
    refuse(faiss::IndexPreTransform(&half_white, &narrow), "transform");
}

TEST(ReverseIndexFactoryText, TellsGraphsOverProductQuantizers) {
    faiss::IndexPQ storage(kWidth, 4, 8);
    EXPECT_EQ(reverse_index_factory(faiss::IndexNSG(&storage, 16)), "NSG16,PQ4np");
    storage.do_polysemous_training = true;
    EXPECT_EQ(reverse_index_factory(faiss::IndexNSG(&storage, 16)), "NSG16,PQ4");
    EXPECT_EQ(reverse_index_factory(faiss::IndexHNSW(&storage, 16)), "HNSW16,PQ4");
}

} // namespace
} // namespace arfc
