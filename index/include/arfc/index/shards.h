#pragma once

#include <faiss/IndexReplicas.h>
#include <faiss/IndexShards.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace arfc {

/// FAISS's IndexShards, whose search takes parameters: rows are divided between indexes, and a
/// search asks all of them. FAISS 1.7.3's own throws on any parameters, and has no range_search,
/// remove_ids or reconstruct.
///
/// `sel` is asked for the ids that this index answers; everything else reaches every shard as it
/// is. Rows that tie come in the order of the shards. Shards of one model may be had by training an
/// index once and reading its file for each; train() teaches every shard by itself. Const members
/// may be called from many threads where `threaded` is false. What its own members throw is
/// arfc::Error; add_shard() and remove_shard() are FAISS's.
class ShardsIndex : public faiss::IndexShards {
  public:
    /// Makes an index without shards, for add_shard(); `own_fields` says who deletes them.
    /// @param width       Embedding width, in floats.
    /// @param threaded    One thread for each shard, each with OpenMP threads of its own; else
    ///                    shards are asked in turn.
    /// @param successive  Ids are positions: first those of the first shard, then those of the
    ///                    second, ...; else each shard keeps ids (ARFC indexes and IDMap do).
    explicit ShardsIndex(int width, bool threaded = false, bool successive = true);

    /// Takes shards over.
    /// @param shards  At least one; of one width, metric and state of training.
    /// @throws Error  kInvalidArgument.
    explicit ShardsIndex(
        std::vector<std::unique_ptr<faiss::Index>> shards, bool threaded = false,
        bool successive = true);

    void train(std::int64_t n, const float* x) override;

    /// Divides rows into as many runs as there are shards. Where a shard refuses its rows, shards
    /// that were empty are so again; others keep what they took.
    /// @throws Error  kFailedPrecondition: no shards, not trained, or a second call where ids are
    ///                successive. kInvalidArgument: a value.
    void add(std::int64_t n, const float* x) override;

    /// @throws Error  as add(). kInvalidArgument: ids are successive.
    void add_with_ids(std::int64_t n, const float* x, const std::int64_t* xids) override;

    void search(
        std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
        const faiss::SearchParameters* params = nullptr) const override;
    void range_search(
        std::int64_t n, const float* x, float radius, faiss::RangeSearchResult* result,
        const faiss::SearchParameters* params = nullptr) const override;

    /// @throws Error  kNotFound.
    void reconstruct(std::int64_t key, float* recons) const override;

    /// Removes from every shard; successive ids move up.
    std::size_t remove_ids(const faiss::IDSelector& sel) override;

    /// Drops every row; training stays (FAISS 1.7.3's forgets that there was any).
    void reset() override;

  private:
    [[nodiscard]] std::vector<std::int64_t> first_ids() const;
};

/// FAISS's IndexReplicas, whose search takes parameters: every index holds every row, and queries
/// are divided between them. FAISS 1.7.3's own throws on any parameters, and has no add_with_ids,
/// range_search or remove_ids.
///
/// A query's answer is that of the index that was asked, so replicas should be copies: read one
/// file several times. Threads and errors as ShardsIndex.
class ReplicasIndex : public faiss::IndexReplicas {
  public:
    explicit ReplicasIndex(int width, bool threaded = true);

    /// Takes replicas over.
    /// @param replicas  At least one; of one width, metric, state of training and number of rows.
    /// @throws Error    kInvalidArgument.
    explicit ReplicasIndex(
        std::vector<std::unique_ptr<faiss::Index>> replicas, bool threaded = true);

    void train(std::int64_t n, const float* x) override;
    void add(std::int64_t n, const float* x) override;
    void add_with_ids(std::int64_t n, const float* x, const std::int64_t* xids) override;
    void search(
        std::int64_t n, const float* x, std::int64_t k, float* distances, std::int64_t* labels,
        const faiss::SearchParameters* params = nullptr) const override;
    void range_search(
        std::int64_t n, const float* x, float radius, faiss::RangeSearchResult* result,
        const faiss::SearchParameters* params = nullptr) const override;
    void reconstruct(std::int64_t key, float* recons) const override;
    std::size_t remove_ids(const faiss::IDSelector& sel) override;

    /// Drops every row; training stays.
    void reset() override;
};

} // namespace arfc
