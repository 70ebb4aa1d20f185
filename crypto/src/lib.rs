//! meshnode crypto.
