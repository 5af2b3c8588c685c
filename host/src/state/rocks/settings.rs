//! How RocksDB is set up, and what all databases of a process share.
use std::path::PathBuf;

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, Env, Options, WriteBufferManager};
use tempfile::TempDir;

use crate::state::error::StateError;

/// What names of directories for a while begin with; no uid does.
const BESIDE: &str = ".beside-";

/// How blocks on disk are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Fast.
    #[default]
    Lz4,
    /// Small.
    Zstd,
}

/// How RocksDB is set up.
#[derive(Clone, Debug)]
pub struct RocksDbSettings {
    /// Where databases are put; what earlier runs left there may be deleted.
    pub directory: PathBuf,
    /// Bytes of rows that each store keeps in memory above its database; approximate.
    pub cache_bytes: usize,
    /// Bytes of the block cache that all databases share.
    pub block_cache_bytes: usize,
    /// Bytes that the memtables of all databases together may hold before they are written.
    pub write_buffer_bytes: usize,
    /// Threads for flushes and compactions of all databases; at least 1.
    pub background_jobs: u32,
    /// How blocks are compressed.
    pub compression: Compression,
    /// Bytes of a block before compression.
    pub block_bytes: usize,
    /// Bits of the Bloom filter a key; 0 for none.
    pub bloom_bits_per_key: u32,
    /// Files each database keeps open; -1 for all.
    pub max_open_files: i32,
}

impl RocksDbSettings {
    /// The defaults: 64 MiB of rows a store, 256 MiB of blocks and 128 MiB of memtables in all, 2 background jobs, LZ4, blocks of
    /// 16 KiB, 10 bits a key, 512 open files a database.
    pub fn new(directory: impl Into<PathBuf>) -> RocksDbSettings {
        RocksDbSettings {
            directory: directory.into(),
            cache_bytes: 64 << 20,
            block_cache_bytes: 256 << 20,
            write_buffer_bytes: 128 << 20,
            background_jobs: 2,
            compression: Compression::Lz4,
            block_bytes: 16 << 10,
            bloom_bits_per_key: 10,
            max_open_files: 512,
        }
    }
}

/// What all databases share.
pub(in crate::state) struct Shared {
    pub(in crate::state) settings: RocksDbSettings,
    cache: Cache,
    buffers: WriteBufferManager,
    env: Env,
    /// The directory, if it goes with the last database.
    _temporary: Option<TempDir>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shared").field(&self.settings).finish()
    }
}

impl Shared {
    /// Makes the directory and what is shared.
    pub(in crate::state) fn new(settings: RocksDbSettings) -> Result<Shared, StateError> {
        std::fs::create_dir_all(&settings.directory).map_err(StateError::file(&settings.directory))?;
        let mut env = Env::new()
            .map_err(|error| StateError::Database { directory: settings.directory.clone(), what: error.to_string() })?;
        let jobs = i32::try_from(settings.background_jobs.max(1)).unwrap_or(i32::MAX);
        env.set_low_priority_background_threads(jobs);
        env.set_high_priority_background_threads((jobs / 2).max(1));
        let cache = Cache::new_lru_cache(settings.block_cache_bytes);
        let buffers = WriteBufferManager::new_write_buffer_manager(settings.write_buffer_bytes, false);
        Ok(Shared { settings, cache, buffers, env, _temporary: None })
    }

    /// For databases in a directory of their own, below this one's, which goes with the last of them.
    pub(in crate::state) fn beside(&self) -> Result<Shared, StateError> {
        let directory = &self.settings.directory;
        let temporary =
            tempfile::Builder::new().prefix(BESIDE).tempdir_in(directory).map_err(StateError::file(directory))?;
        Ok(Shared {
            settings: RocksDbSettings { directory: temporary.path().to_owned(), ..self.settings.clone() },
            cache: self.cache.clone(),
            buffers: self.buffers.clone(),
            env: self.env.clone(),
            _temporary: Some(temporary),
        })
    }

    /// Options of one database.
    pub(in crate::state) fn options(&self) -> Options {
        let settings = &self.settings;
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&self.cache);
        blocks.set_block_size(settings.block_bytes);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        if settings.bloom_bits_per_key > 0 {
            blocks.set_bloom_filter(f64::from(settings.bloom_bits_per_key), false);
        }
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_env(&self.env);
        options.set_write_buffer_manager(&self.buffers);
        options.set_block_based_table_factory(&blocks);
        options.set_max_background_jobs(i32::try_from(settings.background_jobs.max(1)).unwrap_or(i32::MAX));
        options.set_max_open_files(settings.max_open_files);
        options.set_compression_type(match settings.compression {
            Compression::None => DBCompressionType::None,
            Compression::Lz4 => DBCompressionType::Lz4,
            Compression::Zstd => DBCompressionType::Zstd,
        });
        options.set_level_compaction_dynamic_level_bytes(true);
        // Its log of what it does would grow with every start, and nobody reads it.
        options.set_keep_log_file_num(1);
        options.set_stats_dump_period_sec(0);
        options
    }
}
