//! Copies that are wrong on purpose.
