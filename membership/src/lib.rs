//! meshnode membership.
