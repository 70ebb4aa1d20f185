//! Dashboards, rules, runbooks and the binary's metrics fit together.

use super::*;

const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

#[test]
fn every_metric_is_shown_and_every_shown_metric_is_exported() {
    let mut shown = metrics_in(&rules().unwrap());
    for dashboard in Dashboard::all().unwrap() {
        for query in dashboard.queries().iter().chain(&dashboard.variable_queries()) {
            shown.extend(metrics_in(&query.expression));
        }
    }
    let exported = exported().unwrap();
    assert!(exported.len() > 20, "the source is read: {exported:?}");
    let unknown: Vec<_> = shown.difference(&exported).collect();
    assert!(unknown.is_empty(), "no node exports {unknown:?}");
    let listed = exceptions("metrics that nothing shows").unwrap();
    let unseen: BTreeSet<_> = exported.difference(&shown).cloned().collect();
    assert_eq!(unseen, listed, "shown nowhere, and listed as such");
}

#[test]
fn every_panel_says_what_it_shows_and_asks_the_chosen_data_source() {
    for dashboard in Dashboard::all().unwrap() {
        for panel in dashboard.charts() {
            let title = format!("{} / {}", dashboard.name, panel["title"]);
            assert!(
                text(&panel["description"]).len() > 10,
                "{title} has no description"
            );
            assert!(
                panel["fieldConfig"]["defaults"]["unit"].is_string(),
                "{title} has no unit"
            );
            assert!(!list(&panel["targets"]).is_empty(), "{title} has no query");
            for asker in list(&panel["targets"]).iter().chain([panel]) {
                assert_eq!(text(&asker["datasource"]["uid"]), "${datasource}", "{title}");
            }
        }
        assert_eq!(dashboard.variables()["datasource"]["type"], "datasource");
    }
}

#[test]
fn every_variable_in_a_query_is_one_of_the_dashboard() {
    for dashboard in Dashboard::all().unwrap() {
        let declared = dashboard.variables();
        for query in dashboard.queries().iter().chain(&dashboard.variable_queries()) {
            let used = query.expression.split('$').skip(1);
            let names = used.map(|rest| {
                rest.split(|c: char| !c.is_ascii_alphabetic() && c != '_')
                    .next()
                    .unwrap()
            });
            for name in names.filter(|name| !name.starts_with("__")) {
                assert!(declared.contains_key(name), "{} uses ${name}", query.panel);
            }
        }
    }
}

#[test]
fn panels_stand_beside_each_other() {
    for dashboard in Dashboard::all().unwrap() {
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in dashboard.panels() {
            let title = format!("{} / {}", dashboard.name, panel["title"]);
            assert!(
                ids.insert(panel["id"].as_u64().unwrap()),
                "{title} has another's id"
            );
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(w > 0 && h > 0 && x + w <= 24, "{title} is wider than the page");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{title} covers another panel");
            }
        }
    }
}

/// A link names a dashboard by its uid, and hands over variables that exist there.
#[test]
fn links_lead_to_dashboards_that_take_what_they_hand_over() {
    let all = Dashboard::all().unwrap();
    let mut followed = 0;
    for dashboard in &all {
        assert_eq!(
            text(&dashboard.model["uid"]),
            format!("meshnode-{}", dashboard.name)
        );
        let source = dashboard.model.to_string();
        for link in source
            .split("\"/d/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
        {
            let (uid, parameters) = link.split_once('?').unwrap();
            let target = all.iter().find(|d| d.model["uid"] == uid).expect(link);
            let names = parameters
                .split("var-")
                .skip(1)
                .map(|rest| rest.split('=').next().unwrap());
            for name in names {
                assert!(
                    target.variables().contains_key(name),
                    "{uid} has no variable {name}"
                );
            }
            followed += 1;
        }
    }
    assert!(followed > 2, "{followed} links were found");
}

#[test]
fn every_alert_has_a_severity_a_page_and_a_test() {
    let directory = root().join("dashboards/prometheus");
    let alerts = read(&directory.join("alerts.yml")).unwrap();
    let tests: String = files("dashboards/prometheus/tests", "yml")
        .unwrap()
        .iter()
        .map(|path| read(path).unwrap())
        .collect();
    let mut pages = BTreeSet::new();
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        let has = |what: &str| assert!(alert.contains(what), "{name} lacks `{what}`");
        assert!(
            SEVERITIES
                .iter()
                .any(|s| alert.contains(&format!("severity: {s}"))),
            "{name} has no severity"
        );
        has("summary: ");
        has("description: ");
        has(&format!("runbook_url: docs/runbooks/{name}.md"));
        assert!(
            tests.contains(&format!("alertname: {name}\n        exp_alerts:\n")),
            "{name} is not seen to fire"
        );
        pages.insert(format!("{name}.md"));
    }
    let written: BTreeSet<String> = files("docs/runbooks", "md")
        .unwrap()
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(pages, written, "alerts, and pages in docs/runbooks");
}

#[test]
fn names_are_told_from_text() {
    let text =
        "rate(meshnode_a_total{x=\"y\"}[5m]) / on () meshnode_rtt_seconds_bucket > path:meshnode_a:rate5m";
    let names = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(names(metrics_in(text)), "meshnode_a_total meshnode_rtt_seconds");
    assert_eq!(
        names(series_in(text)),
        "meshnode_a_total meshnode_rtt_seconds_bucket path:meshnode_a:rate5m"
    );
}
