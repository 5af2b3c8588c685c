//! Keyed state against a model of it, on both backends: random operations, snapshots, restores at other parallelism and on the
//! other backend.
mod maps;
mod migrate;
mod model;
mod oracle;
mod random;
mod snapshots;
mod task;
