#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <vector>

#include "arfc/compressor/compressor.h"
#include "arfc/index/collection.h"
#include "arfc/storage/manifest.h"
#include "arfc/storage/store.h"
#include "calibration_sample.h"
#include "factory_spec.h"
#include "raw_rows.h"
#include "staged_index.h"

namespace arfc {

/// Names inside a collection directory; docs/storage_format.md.
inline constexpr const char* kStoreDirectory = "rocks";
inline constexpr const char* kModelDirectory = "model";
inline constexpr const char* kCoarseFile = "coarse.arfc";
inline constexpr const char* kCalibrationFile = "calibration.arfc";

/// Lets many readers in, or one writer; a waiting writer goes before readers that come later, so
/// that constant searching cannot keep a write waiting for ever.
class FairSharedMutex {
  public:
    [[nodiscard]] std::shared_lock<std::shared_mutex> read() const {
        const std::lock_guard turn(turnstile_);
        return std::shared_lock(mutex_);
    }
    [[nodiscard]] std::unique_lock<std::shared_mutex> write() const {
        const std::lock_guard turn(turnstile_);
        return std::unique_lock(mutex_);
    }

  private:
    mutable std::mutex turnstile_;
    mutable std::shared_mutex mutex_;
};

/// Joins a store, a model and an index in memory.
///
/// The store is the truth; memory is a picture of one of its snapshots (`snapshot_`), replaced
/// together under `state_mutex_`. Writers change the store first, holding `write_mutex_`, then the
/// picture.
class CollectionImpl final : public Collection {
  public:
    CollectionImpl(
        std::filesystem::path directory, storage::Manifest manifest, FactorySpec spec,
        bool read_only);
    CollectionImpl(const CollectionImpl&) = delete;
    CollectionImpl& operator=(const CollectionImpl&) = delete;
    ~CollectionImpl() override;

    /// Opens the store and the model and loads the picture.
    void load(const std::string& device);

    CollectionTrainReport train(const CollectionTrainOptions& options) override;
    void upsert(
        std::span<const PointId> ids, MatrixView<const float> embeddings,
        std::span<const std::string> payloads, bool wait) override;
    std::size_t remove(std::span<const PointId> ids, bool wait) override;
    bool optimize(const ProgressFunction& progress) override;
    [[nodiscard]] SearchAnswer search(
        MatrixView<const float> queries, const SearchOptions& options) const override;
    [[nodiscard]] std::vector<Point> get(
        std::span<const PointId> ids, bool with_vector) const override;
    [[nodiscard]] CollectionInfo info() const override;
    [[nodiscard]] Plan plan(const PlanOptions& options) const override;
    void drop_calibration() override;
    [[nodiscard]] std::shared_ptr<const Compressor> model() const override;
    void close() override;

  private:
    /// What searches read; changed as a whole under state_mutex_.
    struct Picture {
        std::shared_ptr<const storage::Snapshot> snapshot;
        std::vector<PointId> ids;         ///< [rows]; of tombstones: whatever it was.
        std::optional<RawRows> raw;       ///< While there is no model.
        std::optional<StagedIndex> index; ///< Once there is one.
    };

    /// What an index keeps of rows beside their heads.
    struct RowTerms {
        std::vector<float> rank;        ///< StagedIndex::rank_terms().
        std::vector<ErrorRadius> radii; ///< StagedIndex::error_radii().
    };

    // collection.cpp
    void require_open(bool for_writing) const;
    void check_rows(MatrixView<const float> rows, std::string_view what) const;
    void open_model(const std::string& device);
    void finish_interrupted_training();
    [[nodiscard]] Picture load_picture() const;
    void load_index(Picture& picture, std::vector<bool>& live) const;
    /// Returns an index without rows, which knows the coarse file where that fits the snapshot.
    [[nodiscard]] StagedIndex restored_index(const storage::Snapshot& snapshot) const;
    void save_coarse();
    [[nodiscard]] StagedShape staged_shape() const;

    // collection_plan.cpp
    void load_calibration();
    void save_calibration();
    void follow_in_calibration(
        const storage::Published& published, MatrixView<const float> embeddings);
    [[nodiscard]] std::optional<CalibrationSample> calibration_of_raw(bool keep_raw) const;

    // collection_write.cpp
    void apply(
        const storage::Mutation& mutation, const RowTerms& terms, bool wait,
        storage::Published& published);
    void learn_lists_when_due();
    [[nodiscard]] bool lists_lag_by(const StagedIndex& index, double factor) const;
    void learn_lists(const ProgressFunction& progress);
    [[nodiscard]] std::vector<std::byte> codes_of(
        const Picture& picture, std::span<const std::uint64_t> rows) const;
    void write_all_codes(
        const Picture& before, const Compressor& model, const ProgressFunction& progress,
        StagedIndex& index);

    std::filesystem::path directory_;
    storage::Manifest manifest_;
    FactorySpec spec_;
    bool read_only_;
    bool closed_ = false;
    bool damaged_ = false; ///< The store took a write that memory could not follow.
    bool coarse_dirty_ = false;
    std::unique_ptr<storage::WriterLock> lock_;
    std::unique_ptr<storage::Store> store_;
    std::shared_ptr<const Compressor> compressor_;
    Picture picture_;
    std::optional<CalibrationSample> calibration_; ///< Nothing: none is to be kept.
    bool calibration_dirty_ = false;
    mutable std::mutex write_mutex_;
    FairSharedMutex state_mutex_;
};

} // namespace arfc
