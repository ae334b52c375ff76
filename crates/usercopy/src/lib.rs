//! usercopy
