//! Which pages to read before they are asked for.
