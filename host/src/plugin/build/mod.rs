//! The toolchain that makes components: from a core module, from a crate, and the crate itself from a template. Must not know
//! tasks, jobs or how components are run.
mod bounds;
mod closed_wasi;
mod componentize;
mod new;
mod rust;
mod toolchain;

pub use bounds::{BoundsError, check_bounds, is_component};
pub use componentize::{ComponentizeError, componentize};
pub use new::{Language, NewError, new};
pub use rust::{BUILD_DIRECTORY_VARIABLE, BuildError, Options, build};
pub use toolchain::ToolchainError;
