//! Delivery.
//!
pub mod lane;
pub mod retry;
pub mod target;
