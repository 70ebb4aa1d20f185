//! How each failure is made and repaired, by theme.

pub(crate) mod gateway;
pub(crate) mod path;
pub(crate) mod planned;

use anyhow::Result;
use meshnode_tests::topology::Roles;

use super::scene::Scene;

/// Nothing is missing.
fn always(_: &Scene<'_>) -> Result<Option<String>> {
    Ok(None)
}

/// Nothing is to be repaired.
fn nothing(_: &Scene<'_>, _: &Roles) -> Result<()> {
    Ok(())
}
