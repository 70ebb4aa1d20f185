//! `meshnode events`: what happened to paths and routes, and why.

use std::time::Duration;

use clap::Args;

use crate::api::client::{ApiError, Client};
use crate::api::types::{Event, Events, Kind};
use crate::output::clock::LocalTime;
use crate::output::style::{Paint, Style};
use crate::output::table::screen_width;
use crate::output::{Failure, duration, wrap};

use super::context::{Context, now};
use super::watch::json_line;

/// How long the node may keep one question open.
const WAIT_MS: u64 = 15_000;

/// How often a node that has gone is looked for.
const AGAIN: Duration = Duration::from_millis(500);

/// Options of `events`.
#[derive(Debug, Args)]
pub struct Options {
    /// Go on with what happens from now on, until Ctrl-C; also across a restart of the node
    #[arg(short, long)]
    follow: bool,
    /// Print JSON, one event a line
    #[arg(long)]
    json: bool,
    /// Leave out what is older, such as 90s, 10m or 24h
    #[arg(long, value_name = "AGE", value_parser = duration::parse)]
    since: Option<Duration>,
    /// Only events of this node
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// Show so many of the newest
    #[arg(short = 'n', long, value_name = "N", default_value = "50")]
    limit: usize,
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let node = context.node()?;
        context.block_on(async {
            let first: Events = node.get("/v1/events").await?;
            let mut page = Page::new(context.console.style());
            self.beginning(context, &first, &mut page)?;
            match self.follow {
                true => self.go_on(context, &node, Place::after(&first), &mut page).await,
                false => Ok(()),
            }
        })
    }

    fn beginning(&self, context: &Context<'_>, answer: &Events, page: &mut Page) -> Result<(), Failure> {
        let events = self.wanted(&answer.events);
        let left_out = events.len().saturating_sub(self.limit);
        if answer.gone > 0 && left_out == 0 {
            context.console.hint(lost(answer.gone));
        }
        if left_out > 0 {
            context.console.hint(format_args!(
                "… {left_out} older events are not shown: --limit {} shows them",
                events.len()
            ));
        }
        if events.is_empty() && !self.follow {
            context.console.hint("Nothing of that kind is remembered.");
        }
        self.print(context, &events[left_out..], page)
    }

    async fn go_on(
        &self,
        context: &Context<'_>,
        node: &Client,
        mut place: Place,
        page: &mut Page,
    ) -> Result<(), Failure> {
        while !context.console.is_closed() {
            let answer: Events = match node.get(&place.question()).await {
                Ok(answer) => answer,
                Err(ApiError::Refused { status, refusal }) => {
                    return Err(ApiError::Refused { status, refusal }.into());
                }
                Err(_gone) => back_again(context, node).await?,
            };
            let Some(answer) = place.follow(answer) else {
                continue;
            };
            if answer.gone > 0 {
                context.console.hint(lost(answer.gone));
            }
            self.print(context, &self.wanted(&answer.events), page)?;
        }
        Ok(())
    }

    fn wanted<'a>(&self, events: &'a [Event]) -> Vec<&'a Event> {
        let oldest = self.since.map_or(0, |age| {
            now()
                .0
                .saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
        });
        let is_recent = |event: &&Event| event.time_ms >= oldest;
        let concerns = |event: &&Event| self.peer.as_ref().is_none_or(|name| mentions(event, name));
        events.iter().filter(is_recent).filter(concerns).collect()
    }

    fn print(&self, context: &Context<'_>, events: &[&Event], page: &mut Page) -> Result<(), Failure> {
        page.fit(events);
        for event in events {
            let line = match self.json {
                false => page.lines(event),
                true => json_line(event)?,
            };
            context.console.print(line)?;
        }
        Ok(())
    }
}

fn lost(count: u64) -> String {
    match count {
        1 => "… 1 older event is gone".to_owned(),
        count => format!("… {count} older events are gone"),
    }
}

fn mentions(event: &Event, name: &str) -> bool {
    let what = &event.what;
    [&what.peer, &what.from, &what.to]
        .into_iter()
        .flatten()
        .any(|found| found.eq_ignore_ascii_case(name))
}

/// Waits for a node that has gone; returns everything that it remembers.
async fn back_again(context: &Context<'_>, node: &Client) -> Result<Events, Failure> {
    context.console.hint("… the node has gone: waiting for it");
    loop {
        tokio::time::sleep(AGAIN).await;
        if let Ok(answer) = node.get("/v1/events?after=0").await {
            context.console.hint("… it runs again");
            return Ok(answer);
        }
    }
}

/// How far one has read: the run, and the number of its last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    run_ms: u64,
    last: u64,
}

impl Place {
    fn after(answer: &Events) -> Place {
        Place {
            run_ms: answer.run_ms,
            last: answer.last,
        }
    }

    fn question(&self) -> String {
        format!("/v1/events?after={}&wait_ms={WAIT_MS}", self.last)
    }

    /// What of an answer is new. `None` if it is of another run and does not begin at its beginning: ask again.
    fn follow(&mut self, answer: Events) -> Option<Events> {
        let is_other = answer.run_ms != self.run_ms;
        let begins = answer.events.first().map(|event| event.number);
        if is_other && begins != Some(answer.gone + 1) {
            *self = Place {
                run_ms: answer.run_ms,
                last: 0,
            };
            return None;
        }
        let read = if is_other { 0 } else { self.last };
        *self = Place::after(&answer);
        let events: Vec<Event> = answer
            .events
            .into_iter()
            .filter(|event| event.number > read)
            .collect();
        let gone = events.first().map_or(0, |event| event.number - read - 1);
        Some(Events {
            gone,
            events,
            ..answer
        })
    }
}

/// Columns that grow with what they hold, so that lines stay aligned while they come one by one.
#[derive(Debug)]
struct Page {
    style: Style,
    screen: Option<usize>,
    day: String,
    subject: usize,
    change: usize,
}

/// Beyond this a column does not grow: the one line that needs more sticks out.
const WIDEST: usize = 24;
/// Width of the column of kinds, that of the longest word.
const KIND: usize = 8;
/// Width of a time with milliseconds.
const TIME: usize = 12;

impl Page {
    fn new(style: Style) -> Page {
        Page {
            style,
            screen: screen_width().map(usize::from),
            day: String::new(),
            subject: 6,
            change: 6,
        }
    }

    /// Widens the columns for these events.
    fn fit(&mut self, events: &[&Event]) {
        let widest = |length: &dyn Fn(&Event) -> usize| {
            events
                .iter()
                .map(|event| length(event))
                .filter(|width| *width <= WIDEST)
                .max()
                .unwrap_or(0)
        };
        self.subject = self.subject.max(widest(&|event| subject(event).chars().count()));
        self.change = self.change.max(widest(&|event| change(event).chars().count()));
    }

    /// The line of an event; a new day has a line before.
    fn lines(&mut self, event: &Event) -> String {
        let at = LocalTime::of(event.time_ms);
        let mut text = String::new();
        if at.day() != self.day {
            self.day = at.day();
            text = format!("{}\n", self.style.paint(Paint::Dim, &self.day));
        }
        let cell = |paint: Option<Paint>, text: &str, width: usize| {
            let padded = format!("{text:<width$}");
            paint.map_or(padded.clone(), |paint| self.style.paint(paint, padded))
        };
        let head = [
            cell(Some(Paint::Dim), &at.time(), TIME),
            cell(None, event.what.kind.as_str(), KIND),
            cell(Some(Paint::Strong), &subject(event), self.subject),
            cell(paint(event), &change(event), self.change),
        ];
        text += &head.join("  ");
        text += "  ";
        text += &self.wrapped(&event.what.text);
        text.trim_end().to_owned()
    }

    /// The reason, on a screen that is too narrow over several lines in its own column.
    fn wrapped(&self, text: &str) -> String {
        let indent = TIME + KIND + self.subject + self.change + 4 * 2;
        wrap::hanging(text, indent, self.screen)
    }
}

/// Whom or what it happened to.
fn subject(event: &Event) -> String {
    match (&event.what.prefix, &event.what.peer) {
        (Some(prefix), _) => prefix.to_string(),
        (None, Some(peer)) => peer.clone(),
        (None, None) => "-".to_owned(),
    }
}

/// `hk → gz`; a route that has no node goes to or comes from none.
fn change(event: &Event) -> String {
    let what = &event.what;
    match (&what.from, &what.to) {
        (Some(from), Some(to)) => format!("{from} → {to}"),
        (None, Some(to)) if what.kind == Kind::Route => format!("none → {to}"),
        (None, Some(to)) => to.clone(),
        (Some(from), None) => format!("{from} → none"),
        (None, None) => String::new(),
    }
}

/// Whether it is good news.
fn paint(event: &Event) -> Option<Paint> {
    let what = &event.what;
    match (what.kind, what.to.as_deref()) {
        (Kind::Path, Some("up" | "direct")) => Some(Paint::Good),
        (Kind::Path, Some("down" | "suspect")) | (Kind::Route, None) => Some(Paint::Bad),
        (Kind::Route, _) if what.from.is_none() => Some(Paint::Good),
        (Kind::Path | Kind::Route, _) => Some(Paint::Warn),
        (Kind::Check, Some("passes")) => Some(Paint::Good),
        (Kind::Revoked | Kind::Conflict | Kind::Check, _) => Some(Paint::Bad),
        (Kind::Stall | Kind::Clock | Kind::Offload | Kind::Lane | Kind::Drain, _) => Some(Paint::Warn),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::Happening;

    fn event(number: u64, what: Happening) -> Event {
        Event {
            number,
            time_ms: 1_700_000_000_000 + number,
            what,
        }
    }

    fn route(number: u64) -> Event {
        let what = Happening::new(Kind::Route)
            .change(Some("hk"), Some("gz"))
            .because("suspect", "hk does not answer: three probes in a row were lost");
        event(
            number,
            Happening {
                prefix: Some("10.99.0.0/16".parse().unwrap()),
                ..what
            },
        )
    }

    fn answer(run_ms: u64, gone: u64, numbers: std::ops::RangeInclusive<u64>) -> Events {
        Events {
            run_ms,
            last: *numbers.end(),
            gone,
            events: numbers.map(route).collect(),
        }
    }

    fn page(screen: Option<usize>) -> Page {
        Page {
            screen,
            day: LocalTime::of(route(1).time_ms).day(),
            ..Page::new(Style::PLAIN)
        }
    }

    #[test]
    fn lines_are_aligned_and_wrap_in_the_last_column() {
        let down = Happening::new(Kind::Path)
            .peer("hk")
            .change(None::<&str>, Some("down"));
        let down = event(1, down.because("silent", "nothing comes from it any more"));
        let moved = route(2);
        let mut wide = page(None);
        wide.fit(&[&down, &moved]);
        let drawn = [wide.lines(&down), wide.lines(&moved)].map(|line| line[TIME..].to_owned());
        assert_eq!(
            drawn,
            [
                "  path      hk            down     nothing comes from it any more",
                "  route     10.99.0.0/16  hk → gz  hk does not answer: three probes in a row were lost",
            ]
        );
        let mut narrow = page(Some(80));
        narrow.fit(&[&moved]);
        let drawn = narrow.lines(&moved);
        assert!(drawn.lines().all(|line| line.chars().count() <= 80), "{drawn}");
        assert_eq!(drawn.lines().nth(1).map(str::trim), Some("in a row were lost"));
    }

    #[test]
    fn a_new_day_has_a_line_of_its_own() {
        let mut page = Page::new(Style::PLAIN);
        assert_eq!(page.lines(&route(1)).lines().count(), 2);
        assert_eq!(page.lines(&route(2)).lines().count(), 1);
        let mut later = route(3);
        later.time_ms += 86_400_000;
        assert_eq!(page.lines(&later).lines().count(), 2);
    }

    #[test]
    fn following_repeats_nothing_and_begins_again_after_a_restart() {
        let mut place = Place::after(&answer(1, 0, 1..=5));
        let news = place.follow(answer(1, 0, 6..=7)).unwrap();
        assert_eq!((news.events.len(), place.last), (2, 7));
        assert!(
            place.follow(answer(2, 0, 8..=9)).is_none(),
            "its first seven were not read"
        );
        assert_eq!(place.question(), format!("/v1/events?after=0&wait_ms={WAIT_MS}"));
        let news = place.follow(answer(2, 0, 1..=9)).unwrap();
        assert_eq!((news.events.len(), place.last), (9, 9));
        let mut place = Place { run_ms: 1, last: 3 };
        let whole = place.follow(answer(2, 40, 41..=50)).unwrap();
        assert_eq!((whole.events.len(), whole.gone), (10, 40));
    }

    #[test]
    fn a_node_is_found_as_the_one_that_lost_a_route_too() {
        assert!(mentions(&route(1), "HK") && mentions(&route(1), "gz"));
        assert!(!mentions(&route(1), "sz"));
    }
}
