//! Plugins: operators as WebAssembly components.
pub mod build;
