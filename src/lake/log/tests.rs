//! Reading a log while it changes.

use super::*;

#[test]
fn numbers_are_read_from_names_and_strangers_passed_over() {
    assert_eq!(number(&Path::from("a/00000000000000000042.json")), Some(42));
    for stranger in ["a/42.json", "a/00000000000000000042.tmp", "a/0000000000000000004x.json"] {
        assert_eq!(number(&Path::from(stranger)), None, "{stranger}");
    }
}

#[test]
fn names_that_are_no_names_stay_in_their_place() {
    let table = LakeName { database: "..".to_owned(), table: "a/b".to_owned() };
    let folder = table_folder(&table);
    assert_eq!(folder.parts_count(), 2);
    assert!(!folder.as_ref().starts_with(".."));
}
