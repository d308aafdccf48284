//! Settings judged one by one, from a server where all is well.

use super::settings::{Variables, judge};
use crate::source::wire::tests::settings;
use crate::source::{Flavor, Identity, Severity};

const GOOD: [(&str, &str); 16] = [
    ("log_bin", "ON"),
    ("server_id", "1"),
    ("binlog_format", "ROW"),
    ("binlog_row_image", "FULL"),
    ("binlog_row_metadata", "FULL"),
    ("binlog_row_value_options", ""),
    ("binlog_checksum", "CRC32"),
    ("binlog_order_commits", "ON"),
    ("binlog_transaction_compression", "OFF"),
    ("binlog_expire_logs_seconds", "2592000"),
    ("gtid_mode", "ON"),
    ("sync_binlog", "1"),
    ("innodb_flush_log_at_trx_commit", "1"),
    ("lower_case_table_names", "0"),
    ("time_zone", "SYSTEM"),
    ("system_time_zone", "UTC"),
];

fn identity(version: &str) -> Identity {
    Identity { server_uuid: "a".to_owned(), version: version.to_owned(), flavor: Flavor::Mysql, gtids: true }
}

/// What is not OK when these variables differ from a good server's.
fn worst(changes: &[(&str, &str)]) -> Vec<(String, Severity)> {
    let mut pairs = GOOD.to_vec();
    pairs.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    pairs.extend(changes.iter().filter(|(_, value)| *value != "absent"));
    let findings = judge(&Variables::of(&pairs), &identity("8.4.3"), &settings(1, "root", ""));
    assert!(findings.iter().all(|finding| (finding.severity == Severity::Ok) == finding.remedy.is_none()));
    let bad = findings.into_iter().filter(|finding| finding.severity != Severity::Ok);
    bad.map(|finding| (finding.subject, finding.severity)).collect()
}

fn one(subject: &str, severity: Severity) -> Vec<(String, Severity)> {
    vec![(subject.to_owned(), severity)]
}

#[test]
fn a_good_server_has_no_complaint() {
    assert_eq!(worst(&[]), []);
    assert_eq!(worst(&[("binlog_row_value_options", "PARTIAL_JSON")]), []);
}

#[test]
fn what_makes_capture_impossible_is_an_error() {
    for (name, value) in [
        ("log_bin", "OFF"),
        ("binlog_format", "MIXED"),
        ("binlog_row_image", "MINIMAL"),
        ("server_id", "5400"),
        ("server_id", "0"),
    ] {
        assert_eq!(worst(&[(name, value)]), one(name, Severity::Error), "{name}={value}");
    }
}

#[test]
fn what_is_a_risk_is_a_warning() {
    for (name, value) in [
        ("binlog_row_metadata", "MINIMAL"),
        ("binlog_row_metadata", "absent"),
        ("binlog_checksum", "NONE"),
        ("gtid_mode", "ON_PERMISSIVE"),
        ("gtid_mode", "OFF"),
        ("binlog_expire_logs_seconds", "3600"),
        ("sync_binlog", "0"),
        ("innodb_flush_log_at_trx_commit", "2"),
        ("time_zone", "Asia/Shanghai"),
    ] {
        assert_eq!(worst(&[(name, value)]), one(name, Severity::Warning), "{name}={value}");
    }
}

#[test]
fn a_mariadb_is_judged_by_its_own_variables() {
    let mariadb = Identity { flavor: Flavor::Mariadb, ..identity("11.8.9-MariaDB-log") };
    let good =
        [("gtid_strict_mode", "ON"), ("binlog_optimize_thread_scheduling", "ON"), ("binlog_expire_logs_seconds", "864000")];
    let shared = GOOD.iter().filter(|(name, _)| !name.contains("gtid") && !name.contains("expire"));
    let worst = |changes: &[(&str, &str)]| {
        let mut pairs: Vec<(&str, &str)> = shared.clone().copied().chain(good).collect();
        pairs.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        pairs.extend(changes);
        let findings = judge(&Variables::of(&pairs), &mariadb, &settings(1, "root", ""));
        assert!(findings.iter().all(|finding| !finding.remedy.as_deref().unwrap_or_default().contains("PERSIST")));
        let bad = findings.into_iter().filter(|finding| finding.severity != Severity::Ok);
        bad.map(|finding| (finding.subject, finding.severity)).collect::<Vec<_>>()
    };
    assert_eq!(worst(&[]), []);
    for (name, value, severity) in [
        ("gtid_strict_mode", "OFF", Severity::Warning),
        ("binlog_row_metadata", "NO_LOG", Severity::Warning),
        ("sync_binlog", "0", Severity::Warning),
        ("binlog_optimize_thread_scheduling", "OFF", Severity::Error),
        ("binlog_row_image", "FULL_NODUP", Severity::Error),
        ("binlog_format", "MIXED", Severity::Error),
    ] {
        assert_eq!(worst(&[(name, value)]), one(name, severity), "{name}={value}");
    }
}

#[test]
fn retention_is_read_from_either_variable() {
    assert_eq!(worst(&[("binlog_expire_logs_seconds", "0")]), []);
    assert_eq!(worst(&[("binlog_expire_logs_seconds", "60"), ("binlog_expire_logs_auto_purge", "OFF")]), []);
    assert_eq!(worst(&[("binlog_expire_logs_seconds", "absent"), ("expire_logs_days", "3")]), []);
}

#[test]
fn versions_are_judged() {
    let severity = |version: &str| {
        judge(&Variables::of(&GOOD), &identity(version), &settings(1, "root", "")).first().map(|line| line.severity)
    };
    assert_eq!(severity("8.0.36"), Some(Severity::Ok));
    assert_eq!(severity("9.7.4"), Some(Severity::Ok));
    assert_eq!(severity("5.7.44-log"), Some(Severity::Warning));
    assert_eq!(severity("5.6.51"), Some(Severity::Error));
}
