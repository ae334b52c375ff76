//! faultless
