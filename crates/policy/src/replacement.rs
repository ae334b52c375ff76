//! Which pages leave the cache when memory is short.
