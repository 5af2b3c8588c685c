//! What the end-to-end tests share.
pub mod gate;
pub mod guests;
pub mod kafka;
pub mod python;
pub mod simulation;
