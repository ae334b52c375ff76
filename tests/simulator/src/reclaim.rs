//! Page traces, and the policies that are compared.
