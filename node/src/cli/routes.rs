//! `meshnode routes`: every prefix of the mesh, where it goes, and why.

use clap::Args;

use crate::api::types::{RouteState, RouteStatus, Routes};
use crate::output::style::{Paint, Style};
use crate::output::table::{Listing, cell, plain};
use crate::output::{Failure, duration};

use super::context::Context;
use super::peers::health;
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

/// What a narrow screen does without, first to last.
const LEFT_OUT: [&[&str]; 3] = [&[], &["SINCE"], &["SINCE", "PRIORITY", "PATH"]];

/// One line a prefix and owner, sorted by prefix, the one in use first.
pub fn table(routes: &[RouteStatus], style: Style) -> String {
    let tables = LEFT_OUT.map(|left_out| table_without(left_out, routes, style));
    let mut narrower = tables.into_iter().peekable();
    while let Some(table) = narrower.next() {
        if !table.is_too_wide() || narrower.peek().is_none() {
            return table.render();
        }
    }
    String::new()
}

fn table_without(left_out: &[&str], routes: &[RouteStatus], style: Style) -> Listing {
    let titles = ["PREFIX", "VIA", "STATE", "PRIORITY", "PATH", "SINCE", "REASON"];
    let shown: Vec<&str> = titles
        .into_iter()
        .filter(|title| !left_out.contains(title))
        .collect();
    let right: Vec<usize> = shown
        .iter()
        .position(|title| *title == "PRIORITY")
        .into_iter()
        .collect();
    let mut table = Listing::new(style, &shown).right(&right);
    for route in routes {
        let cells = titles.into_iter().zip(cells(route));
        table.row(
            cells
                .filter(|(title, _)| !left_out.contains(title))
                .map(|(_, cell)| cell),
        );
    }
    table
}

fn cells(route: &RouteStatus) -> [(String, Option<Paint>); 7] {
    [
        plain(route.prefix),
        (route.via.clone(), Some(Paint::Strong)),
        match route.state {
            RouteState::Active => cell(Paint::Good, "active"),
            RouteState::Standby => cell(Paint::Dim, "standby"),
            RouteState::Rejected => cell(Paint::Bad, "rejected"),
        },
        plain(
            route
                .priority
                .map_or("-".to_owned(), |priority| priority.to_string()),
        ),
        route.health.as_deref().map_or_else(|| plain("-"), health),
        plain(
            route
                .since_s
                .map_or("-".to_owned(), |since| duration::coarse(since as u64)),
        ),
        plain(route.reason.as_deref().unwrap_or_default()),
    ]
}
