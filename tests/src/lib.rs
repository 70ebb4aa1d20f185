//! meshnode tests.
