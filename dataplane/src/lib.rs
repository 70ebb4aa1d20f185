//! meshnode dataplane.
