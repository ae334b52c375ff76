//! How long a task that dirties pages pauses.
