//! What the end-to-end tests share.
pub mod gate;
pub mod guests;
pub mod simulation;
