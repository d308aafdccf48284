//! Reading a log while it changes.

use super::*;
use crate::lake::temporary;

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

#[tokio::test]
async fn what_a_killed_put_left_goes_once_its_slot_is_filled_and_not_before() {
    let store = LakeStore::in_memory();
    let log = CommitLog::new(&store, &LakeName { database: "ods".to_owned(), table: "t".to_owned() }, 1);
    for seq in 1..=3 {
        store.put(&log.slot(seq), Bytes::from_static(b"{}")).await.unwrap();
    }
    store.put(&log.checkpoint_path(2), Bytes::from_static(b"{}")).await.unwrap();
    let dead = [log.slot(1), log.slot(3), log.checkpoint_path(3)].map(|place| temporary::beside(&place));
    let alive = [log.slot(4), log.checkpoint_path(4)].map(|place| temporary::beside(&place));
    for path in dead.iter().chain(&alive) {
        store.put(path, Bytes::from_static(b"half")).await.unwrap();
    }
    assert_eq!(log.newest().await.unwrap(), 3, "they are no records");
    assert_eq!(log.clear_leftovers().await.unwrap(), 3);
    for (paths, there) in [(&dead[..], false), (&alive[..], true)] {
        for path in paths {
            assert_eq!(store.get(path).await.unwrap().is_some(), there, "{path}");
        }
    }
}
