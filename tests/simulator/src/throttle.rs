//! Writers and a store of some bandwidth.
