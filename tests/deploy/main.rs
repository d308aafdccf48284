//! What lies in `deploy/` against what it is made for: every query names metrics that there are, and nothing is said twice in two ways.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(at(path)).expect(path)
}

/// The names that the documentation lists: the first cell of each row of its tables. A test holds them against a daemon's.
fn documented() -> BTreeSet<String> {
    text("docs/metrics.md").lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect()
}

/// The metrics of ours that a text names; of a histogram's series, the histogram.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter(|word| word.starts_with("binlake_"));
    ours.map(|word| ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned())
        .collect()
}

/// The queries of a dashboard: of its panels, and of its variables.
fn queries(dashboard: &serde_json::Value, found: &mut Vec<String>) {
    match dashboard {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(query) if ["expr", "definition", "query"].contains(&name.as_str()) => found.push(query.to_owned()),
                    _ => queries(value, found),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[test]
fn every_query_of_a_dashboard_names_metrics_that_there_are() {
    let documented = documented();
    assert!(documented.len() > 20, "{documented:?}");
    let mut shown = BTreeSet::new();
    for entry in std::fs::read_dir(at("deploy/grafana/dashboards")).unwrap() {
        let file = entry.unwrap().path();
        let dashboard = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let mut all = Vec::new();
        queries(&dashboard, &mut all);
        assert!(all.len() > 20, "{}: {all:?}", file.display());
        for query in all {
            let names = named(&query);
            let unknown: Vec<_> = names.difference(&documented).collect();
            assert!(unknown.is_empty(), "{}: {unknown:?} in {query}", file.display());
            shown.extend(names);
        }
    }
    let missing: Vec<_> = documented.difference(&shown).collect();
    assert!(missing.is_empty(), "docs/metrics.md has metrics that no dashboard shows: {missing:?}");
}

#[test]
fn every_alert_names_metrics_that_there_are() {
    let documented = documented();
    for file in ["deploy/prometheus/binlake.rules.yml", "deploy/prometheus/binlake.rules.test.yml"] {
        let names = named(&text(file));
        assert!(names.len() > 5, "{file}: {names:?}");
        let unknown: Vec<_> = names.difference(&documented).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

/// The alerts as the Prometheus operator reads them; `UPDATE_GOLDEN=1` writes them anew.
#[test]
fn the_alerts_of_kubernetes_are_those_of_prometheus() {
    let rules = text("deploy/prometheus/binlake.rules.yml");
    let groups: Vec<&str> = rules.lines().skip_while(|line| !line.starts_with("groups:")).collect();
    let indented: String =
        groups.iter().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }).collect();
    let expected = format!(
        "# Made from deploy/prometheus/binlake.rules.yml: UPDATE_GOLDEN=1 cargo test --test deploy\n\
         apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: binlake\nspec:\n{indented}"
    );
    let file = at("deploy/kubernetes/monitoring/prometheusrule.yaml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &expected).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), expected, "UPDATE_GOLDEN=1 writes it anew");
}
