//! `meshnode routes`: every prefix of the mesh and where it goes.

use clap::Args;

use crate::api::types::{RouteState, RouteStatus, Routes};
use crate::output::Failure;
use crate::output::style::{Paint, Style};
use crate::output::table::{Listing, cell, plain};

use super::context::Context;
use super::watch::View;

/// Options of `routes`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    view: View,
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        self.view.show(context, "/v1/routes", |answer: &Routes, style| {
            match answer.routes.is_empty() {
                true => "No prefix of another node is known.".to_owned(),
                false => table(&answer.routes, style),
            }
        })
    }
}

/// One line a prefix and owner.
pub fn table(routes: &[RouteStatus], style: Style) -> String {
    let mut table = Listing::new(style, &["PREFIX", "VIA", "STATE", "REASON"]);
    for route in routes {
        table.row([
            plain(route.prefix),
            (route.via.clone(), Some(Paint::Strong)),
            match route.state {
                RouteState::Active => cell(Paint::Good, "active"),
                RouteState::Standby => cell(Paint::Dim, "standby"),
                RouteState::Rejected => cell(Paint::Bad, "rejected"),
            },
            plain(route.reason.as_deref().unwrap_or_default()),
        ]);
    }
    table.render()
}
