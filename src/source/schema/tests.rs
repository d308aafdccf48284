//! Judging tables: keys, exclusions, and every reason to refuse one.

use super::facts::IndexFacts;
use super::*;
use crate::change::Generated;

fn column(name: &str, declared: &str, nullable: bool) -> ColumnFacts {
    let text = ["char", "varchar", "text", "enum", "set"].iter().any(|word| declared.starts_with(word));
    ColumnFacts {
        name: name.to_owned(),
        declared: declared.to_owned(),
        charset: text.then(|| "utf8mb4".to_owned()),
        nullable,
        generated: Generated::No,
        octets: text.then_some(400),
    }
}

fn unique(name: &str, columns: &[&str]) -> IndexFacts {
    let columns = columns.iter().map(|name| Some((*name).to_owned())).collect();
    IndexFacts { name: name.to_owned(), visible: true, columns, prefixed: false, hashed: false }
}

fn table(columns: Vec<ColumnFacts>, unique_keys: Vec<IndexFacts>) -> TableFacts {
    TableFacts { table_type: "BASE TABLE".to_owned(), engine: "InnoDB".to_owned(), columns, unique_keys, ..TableFacts::default() }
}

const OLD: ServerTraits = ServerTraits {
    lower_case_names: false,
    writes_cascades: false,
    names_labels: true,
    leaves_out_generated: false,
    hides_hash_columns: false,
};

fn judge(facts: &TableFacts, options: &TableOptions) -> std::result::Result<TableSchema, Vec<Problem>> {
    capture(&TableName::new("shop", "orders"), facts, options, &OLD)
}

fn reasons(facts: &TableFacts, options: &TableOptions) -> String {
    judge(facts, options).unwrap_err().iter().map(|problem| format!("{} | {}\n", problem.reason, problem.remedy)).collect()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_primary_key_is_taken_in_its_own_order() {
    let facts = table(
        vec![column("note", "text", true), column("a", "int", false), column("b", "varchar(9)", false)],
        vec![unique("PRIMARY", &["b", "a"]), unique("u", &["a"])],
    );
    let schema = judge(&facts, &TableOptions::default()).unwrap();
    assert_eq!((schema.key.clone(), schema.key_kind), (vec![2, 1], KeyKind::Primary));
    assert_eq!(schema.key_names(), ["b", "a"]);
}

#[test]
fn the_narrowest_unique_key_without_nulls_prefixes_and_expressions_serves() {
    let mut facts = table(
        vec![column("w", "varchar(99)", false), column("a", "int", false), column("b", "int", false), column("n", "int", true)],
        vec![unique("k1", &["w"]), unique("k2", &["a", "b"]), unique("k3", &["n"]), unique("k5", &["b"]), unique("k4", &["a"])],
    );
    let chosen = |facts: &TableFacts| judge(facts, &TableOptions::default()).map(|schema| (schema.key, schema.key_kind));
    assert_eq!(chosen(&facts), Ok((vec![1], KeyKind::Unique)), "k4 comes before k5 by name");
    facts.unique_keys.retain(|key| key.name == "k1" || key.name == "k3");
    assert_eq!(chosen(&facts), Ok((vec![0], KeyKind::Unique)));
    facts.unique_keys[0].prefixed = true;
    facts.unique_keys.push(IndexFacts { columns: vec![None], ..unique("f", &[]) });
    assert!(reasons(&facts, &TableOptions::default()).contains("mode: changelog"));
}

#[test]
fn key_of_the_yaml_serves_only_where_the_server_has_none() {
    let mut facts = table(vec![column("a", "int", false), column("b", "int", true)], vec![]);
    let options = TableOptions { key: strings(&["A"]), ..TableOptions::default() };
    let schema = judge(&facts, &options).unwrap();
    assert_eq!((schema.key, schema.key_kind), (vec![0], KeyKind::Configured));
    for (key, why) in [(vec!["b"], "may be NULL"), (vec!["c"], "no captured column"), (vec!["a", "a"], "twice")] {
        let options = TableOptions { key: strings(&key), ..TableOptions::default() };
        assert!(reasons(&facts, &options).contains(why), "{key:?}");
    }
    facts.columns[1].nullable = false;
    facts.unique_keys.push(unique("PRIMARY", &["b"]));
    assert!(reasons(&facts, &options).contains("remove `key:`"));
}

#[test]
fn a_keyless_table_is_refused_unless_it_is_allowed() {
    let facts = table(vec![column("a", "int", false)], vec![]);
    assert!(judge(&facts, &TableOptions::default()).is_err());
    let options = TableOptions { keyless_allowed: true, ..TableOptions::default() };
    assert_eq!(judge(&facts, &options).unwrap().key_kind, KeyKind::None);
}

#[test]
fn excluded_columns_keep_their_place_among_all() {
    let facts = table(
        vec![column("id", "int", false), column("password", "varchar(9)", true), column("n", "int", true)],
        vec![unique("PRIMARY", &["id"])],
    );
    let options = TableOptions { exclude_columns: strings(&["PASSWORD"]), ..TableOptions::default() };
    let schema = judge(&facts, &options).unwrap();
    let ordinals: Vec<_> = schema.columns.iter().map(|column| (column.name.as_str(), column.ordinal)).collect();
    assert_eq!(ordinals, [("id", 0), ("n", 2)]);
    assert_eq!((schema.physical_columns, schema.physical.len()), (3, 3));
    let options = TableOptions { exclude_columns: strings(&["id", "nothing"]), ..TableOptions::default() };
    let said = reasons(&facts, &options);
    assert!(said.contains("column id of the primary key is excluded") && said.contains("names nothing"), "{said}");
}

#[test]
fn a_mirror_is_cut_by_a_column_that_has_days_and_is_stored() {
    let mut computed = column("computed", "date", true);
    computed.generated = Generated::Virtual;
    let columns = || vec![column("id", "int", false), column("At", "datetime(3)", true), computed.clone()];
    let options = |name: &str| TableOptions { partition_by: Some(name.to_owned()), ..TableOptions::default() };
    let facts = table(columns(), vec![unique("PRIMARY", &["id"])]);
    assert!(judge(&facts, &options("at")).is_ok());
    for (name, reason) in
        [("id", "names id, which has no days"), ("gone", "no captured column"), ("computed", "computed when it is read")]
    {
        assert!(reasons(&facts, &options(name)).contains(reason), "{}", reasons(&facts, &options(name)));
    }
    let with_dt = [columns(), vec![column("DT", "int", true)]].concat();
    let facts = table(with_dt, vec![unique("PRIMARY", &["id"])]);
    assert!(reasons(&facts, &options("at")).contains("it has a column dt"));
    let options = TableOptions { exclude_columns: strings(&["dt"]), ..options("at") };
    assert!(judge(&facts, &options).is_ok());
}

#[test]
fn every_reason_is_named_at_once() {
    let mut latin = column("t", "text", true);
    latin.charset = Some("klingon".to_owned());
    let mut facts = table(
        vec![column("id", "double", false), latin, column("_op", "int", true), column("x", "xmltype", true)],
        vec![unique("PRIMARY", &["id"])],
    );
    facts.engine = "BLACKHOLE".to_owned();
    facts.cascades = vec![("fk".to_owned(), "ON DELETE CASCADE".to_owned())];
    let said = reasons(&facts, &TableOptions::default());
    for reason in ["BLACKHOLE", "foreign key fk ON DELETE CASCADE", "klingon", "_op", "xmltype", "cannot be compared exactly"] {
        assert!(said.contains(reason), "{reason} in {said}");
    }
    facts.table_type = "VIEW".to_owned();
    assert!(reasons(&facts, &TableOptions::default()).contains("it is a VIEW"));
}

#[test]
fn cascades_pass_where_the_server_writes_them_or_they_are_accepted() {
    let mut facts = table(vec![column("id", "int", false)], vec![unique("PRIMARY", &["id"])]);
    facts.cascades = vec![("fk".to_owned(), "ON UPDATE SET NULL".to_owned())];
    assert!(judge(&facts, &TableOptions::default()).is_err());
    assert!(judge(&facts, &TableOptions { accept_cascades: true, ..TableOptions::default() }).is_ok());
    let new = ServerTraits { writes_cascades: true, ..OLD };
    assert!(capture(&TableName::new("shop", "orders"), &facts, &TableOptions::default(), &new).is_ok());
}

#[test]
fn a_virtual_column_makes_no_key() {
    let mut facts =
        table(vec![column("v", "int", false), column("id", "bigint", false)], vec![unique("a", &["v"]), unique("b", &["id"])]);
    facts.columns[0].generated = Generated::Virtual;
    assert_eq!(judge(&facts, &TableOptions::default()).unwrap().key, [1]);
}

#[test]
fn a_question_mark_in_a_wide_label_needs_a_binlog_that_names_labels() {
    let mut facts = table(vec![column("id", "int", false), column("e", "enum('?','b')", true)], vec![unique("PRIMARY", &["id"])]);
    let minimal = ServerTraits { names_labels: false, ..OLD };
    let judge = |facts: &TableFacts, traits| capture(&TableName::new("shop", "orders"), facts, &TableOptions::default(), traits);
    assert!(judge(&facts, &OLD).is_ok());
    assert_eq!(judge(&facts, &minimal).unwrap_err().len(), 1);
    facts.columns[1].charset = Some("latin1".to_owned());
    assert!(judge(&facts, &minimal).is_ok());
}
