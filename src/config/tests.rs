//! Whole files: the examples load, every message is the one in `tests/golden/config/`, what is printed reads back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;

/// What the golden files may use.
struct Fixed(BTreeMap<&'static str, &'static str>);

impl Environment for Fixed {
    fn variable(&self, name: &str) -> Result<Option<String>, String> {
        Ok(self.0.get(name).map(|value| (*value).to_owned()))
    }

    fn file(&self, path: &Path) -> std::io::Result<String> {
        match path.to_str() {
            Some("/run/secrets/password") => Ok("from a file\n".to_owned()),
            // Of the manifests in deploy/kubernetes.
            Some(name) if name.starts_with("/run/secrets/binlake/") => Ok("never#printed".to_owned()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        }
    }
}

fn environment() -> Fixed {
    Fixed(BTreeMap::from([
        ("MYSQL_PASSWORD", "never#printed: ${X}"),
        ("LAKE_SECRET", "never#printed either"),
        ("PARALLEL", "8"),
        ("HOST", "db.example"),
    ]))
}

const FILE: &str = "/etc/binlake/binlake.yaml";

fn read(text: &str) -> Result<Config, Problems> {
    parse(text, Path::new(FILE), &environment())
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn yaml_files(name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory(name)).unwrap();
    let mut files: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty(), "{name} holds no YAML");
    files
}

const LEAST: &str = "lake: {url: file:lake}\nsources: [{name: shop, url: mysql://u@localhost, tables: [{table: shop.orders}]}]\n";

fn loaded(file: &Path) -> Config {
    parse(&std::fs::read_to_string(file).unwrap(), file, &environment()).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn every_example_loads() {
    for file in yaml_files("config") {
        assert_eq!(loaded(&file).warnings, [], "{}", file.display());
    }
}

/// Inside a container nobody would reach a daemon on loopback: who may is for the network around it to say.
#[test]
fn what_is_deployed_loads() {
    for place in ["deploy/compose", "deploy/kubernetes/base", "deploy/kubernetes/kafka-s3"] {
        let warnings = loaded(&directory(place).join("binlake.yaml")).warnings;
        let places: Vec<_> = warnings.iter().map(|warning| warning.place.path.as_str()).collect();
        assert_eq!(places, ["http"], "{place}: {warnings:?}");
    }
}

/// A golden file is a YAML file and, beside it, the messages it gives; `UPDATE_GOLDEN=1` writes them anew.
#[test]
fn messages_are_the_golden_ones() {
    let mut wrong = Vec::new();
    for file in yaml_files("tests/golden/config") {
        let found = match read(&std::fs::read_to_string(&file).unwrap()) {
            Ok(config) => format!("{}\n---\n{config}", Problems(config.warnings.clone())),
            Err(problems) => problems.to_string(),
        };
        assert!(!found.contains("never#printed"), "{}: a secret is shown: {found}", file.display());
        let found = found.replace("/etc/binlake/binlake.yaml", "binlake.yaml") + "\n";
        let golden = file.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{}:\n--- expected\n{expected}--- found\n{found}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = read(LEAST).unwrap();
    let example = std::fs::read_to_string(directory("config/binlake.example.yaml")).unwrap();
    let example = parse(&example, Path::new(FILE), &environment()).unwrap();
    assert_eq!(
        (&config.state, &config.scratch, config.memory, config.http),
        (&example.state, &example.scratch, example.memory, example.http)
    );
    assert_eq!(config.changelog, example.changelog);
    let lake = LakeConfig { url: config.lake.url.clone(), directory: config.lake.directory.clone(), ..example.lake.clone() };
    assert_eq!(LakeConfig { datetime_zone: Some("UTC".to_owned()), ..config.lake.clone() }, lake);
    let (source, documented) = (&config.sources[0], &example.sources[0]);
    assert_eq!((source.snapshot, source.port), (documented.snapshot, documented.port));
    assert_eq!(source.tls, TlsConfig { mode: TlsMode::Off, ca: None }, "loopback");
    assert_eq!(source.tables[0].options, TableOptions::default());
    assert_eq!(config.state, Path::new("/etc/binlake/state/binlake.db"));
    assert_eq!(config.lake.url, "file:///etc/binlake/lake");
}

#[test]
fn what_is_printed_reads_back() {
    let texts = [LEAST.to_owned(), std::fs::read_to_string(directory("config/binlake.example.yaml")).unwrap()];
    for text in texts.iter().map(String::as_str).chain([include_str!("../../tests/golden/config/accepted.yaml")]) {
        let mut config = read(text).unwrap();
        config.sources.iter_mut().for_each(|source| source.password = Secret::new("***"));
        let printed = config.to_string();
        let mut again = read(&printed).unwrap_or_else(|problems| panic!("{printed}\n{problems}"));
        // Lines differ, meaning does not.
        let places = |config: &mut Config| {
            config.warnings.clear();
            for source in &mut config.sources {
                source.place.line = 0;
                source.tables.iter_mut().for_each(|entry| entry.place.line = 0);
            }
        };
        places(&mut config);
        places(&mut again);
        assert_eq!(config, again, "{printed}");
    }
}

#[test]
fn secrets_come_in_as_they_are_and_never_out() {
    let text =
        "lake: {url: file:lake}\nsources: [{name: a, url: \"mysql://u:${MYSQL_PASSWORD}@${HOST}\", tables: [{table: a.b}]}]";
    let config = read(text).unwrap();
    assert_eq!(config.sources[0].password.reveal(), "never#printed: ${X}");
    assert_eq!(config.sources[0].host, "db.example");
    assert_eq!(config.sources[0].tls.mode, TlsMode::VerifyIdentity);
    assert!(!format!("{config} {config:?}").contains("never#printed"));
}

#[test]
fn every_value_may_come_from_the_environment() {
    let text = LEAST.replace("url: mysql", "snapshot: {parallel: \"${PARALLEL}\", chunk_rows: \"${NONE:-7}\"}, url: mysql");
    let snapshot = read(&text).unwrap().sources[0].snapshot;
    assert_eq!((snapshot.parallel, snapshot.chunk_rows), (8, 7));
    let text = LEAST.replace("file:lake", "file:${MYSQL_PASSWORD}/../lake?");
    assert!(
        !read(&text).unwrap_err().to_string().contains("printed"),
        "a message quotes what is written, not what it stands for"
    );
}

#[test]
fn a_source_may_turn_off_what_the_defaults_verify() {
    let text = LEAST.replace("url: mysql", "tls: {mode: off}, url: mysql") + "defaults: {source: {tls: {ca: x.pem}}}\n";
    assert_eq!(read(&text).unwrap().sources[0].tls, TlsConfig { mode: TlsMode::Off, ca: None });
    let text = LEAST.to_owned() + "defaults: {source: {tls: {ca: x.pem}}}\n";
    let tls = TlsConfig { mode: TlsMode::VerifyIdentity, ca: Some("/etc/binlake/x.pem".into()) };
    assert_eq!(read(&text).unwrap().sources[0].tls, tls, "who names a CA wants it used, on loopback too");
    let text = LEAST.to_owned() + "defaults: {source: {tls: {mode: off, ca: x.pem}}}\n";
    assert!(read(&text).is_err());
}

#[test]
fn a_file_that_is_not_there_says_so() {
    let problems = load(Path::new("/nowhere/binlake.yaml")).unwrap_err();
    assert!(problems.to_string().starts_with("/nowhere/binlake.yaml: it cannot be read: "), "{problems}");
}

mod resolving {
    use super::*;

    fn config(lake: &str, source: &str) -> Config {
        let text = format!("lake: {{url: file:lake{lake}}}\nsources:\n  - name: shop\n    url: mysql://u@db\n{source}");
        read(&text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn resolved(config: &Config, server: &[&str]) -> Resolution {
        let server: Vec<_> = server.iter().map(|name| name.split_once('.').unwrap()).collect();
        let server: Vec<_> = server.into_iter().map(|(database, table)| (database.to_owned(), table.to_owned())).collect();
        resolve(config, &config.sources[0], &server)
    }

    fn names(resolution: &Resolution) -> Vec<String> {
        resolution.tables.iter().map(|table| format!("{}.{}={}", table.database, table.table, table.options.mode)).collect()
    }

    #[test]
    fn the_first_match_wins_in_the_files_order() {
        let tables = "    exclude: [\"*.tmp_*\"]\n    tables:\n      - {table: shop.users, mode: both}\n      - {table: '/shop\\.log_[0-9]+/', mode: changelog}\n      - {table: shop.*}\n";
        let resolution =
            resolved(&config("", tables), &["shop.a", "shop.log_1", "shop.log_x", "shop.tmp_1", "shop.users", "other.a"]);
        assert_eq!((resolution.errors.len(), resolution.warnings.len()), (0, 0), "{resolution:?}");
        assert_eq!(names(&resolution), ["shop.users=both", "shop.log_1=changelog", "shop.a=mirror", "shop.log_x=mirror"]);
        let lake: Vec<_> = resolution
            .tables
            .iter()
            .map(|table| (table.named, table.lake.mirror.clone(), table.lake.changelog.clone()))
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(lake[0], (true, some("users"), some("users_changelog")));
        assert_eq!(lake[1], (false, None, some("log_1")));
        assert_eq!(lake[2], (false, some("a"), None));
        assert!(resolution.tables.iter().all(|table| table.lake.database == "ods_shop"));
    }

    #[test]
    fn a_named_table_that_is_not_there_is_an_error_with_its_neighbour() {
        let config = config("", "    tables: [{table: shop.oders}, {table: crm.users}, {table: hr.x}, {table: nothing.*}]\n");
        let resolution = resolved(&config, &["shop.orders", "shop.users"]);
        let errors: Vec<String> = resolution.errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 3);
        assert!(
            errors[0].ends_with("sources[0].tables[0].table: shop has no table shop.oders; did you mean shop.orders?"),
            "{errors:?}"
        );
        assert!(errors[1].ends_with("shop has no table crm.users; did you mean shop.users?"), "{errors:?}");
        assert!(errors[2].ends_with("the user sees no table in hr: GRANT SELECT on it, or create it"), "{errors:?}");
        assert_eq!(resolution.warnings.len(), 1, "a pattern may wait for its tables");
    }

    #[test]
    fn two_tables_never_share_a_name_in_the_lake() {
        let config = config("", "    tables: [{table: shop.orders, mode: both}, {table: shop.*}]\n");
        let resolution = resolved(&config, &["shop.Orders", "shop.orders", "shop.orders_changelog"]);
        let errors: Vec<String> = resolution.errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(
            errors[0]
                .contains("shop.orders of source shop and shop.Orders of source shop would both be ods_shop.orders in the lake")
        );
        assert!(errors[1].contains("would both be ods_shop.orders_changelog in the lake"));
    }

    #[test]
    fn clashes_between_sources_are_found_and_told_apart_by_the_template() {
        let two = "    tables: [{table: shop.*}]\n  - {name: shop2, url: mysql://u@db2, tables: [{table: shop.*}]}\n";
        for (lake, clash) in [("", 1), (", database: \"{source}_{database}\"", 0)] {
            let config = config(lake, two);
            let server = [("shop".to_owned(), "orders".to_owned())];
            let names = LakeNames::default();
            let claim =
                |source: &SourceConfig| names.claim(&config, &source.name, &resolve(&config, source, &server).tables).len();
            assert_eq!((claim(&config.sources[0]), claim(&config.sources[1])), (0, clash));
            assert_eq!(claim(&config.sources[0]), 0, "a source that is resolved again does not clash with itself");
        }
    }

    #[test]
    fn names_that_are_no_folder_are_refused() {
        let config = config(", database: \"{database}\"", "    tables: [{table: \"*.*\"}]\n");
        let resolution = resolved(&config, &["shop.a/b", "shop...", "_databases.x", "..x.y", "ok._fine"]);
        assert_eq!(resolution.errors.len(), 4, "{:?}", resolution.errors);
    }
}
