//! A table's state is what its records say, from the beginning or from any checkpoint.

use super::*;
use crate::lake::log::record::{RowCounts, VERSION};

fn file(path: &str) -> FileEntry {
    FileEntry { path: path.to_owned(), rows: 2, bytes: 10, keys: None }
}

fn segment(lower: &str, upper: Option<&str>, path: &str) -> Segment {
    Segment { lower: lower.to_owned(), upper: upper.map(str::to_owned), file: Some(file(path)) }
}

fn record(seq: u64, kind: RecordKind) -> Record {
    Record {
        v: VERSION,
        kind,
        id: format!("r{seq}"),
        table: "ods.t".to_owned(),
        source: "shop".to_owned(),
        generation: 1,
        seq,
        term: Term(5),
        committed_ms: seq * 1000,
        schema: String::new(),
        point: None,
        added: Vec::new(),
        removed: Vec::new(),
        forgotten: Vec::new(),
        segments: None,
        rows: RowCounts::default(),
        bytes_written: 0,
        took_ms: 0,
        zero_dates: BTreeMap::from([("d".to_owned(), 1)]),
        published: None,
        switch_to: None,
    }
}

fn adopted() -> State {
    let mut state = State::new(1);
    state.apply(&record(1, RecordKind::Term)).unwrap();
    let segments = vec![segment("", Some("80"), "a"), segment("80", None, "b")];
    let adopt =
        Record { added: vec![file("a"), file("b")], segments: Some(difference(&[], &segments)), ..record(2, RecordKind::Adopt) };
    state.apply(&adopt).unwrap();
    state
}

#[test]
fn segments_change_by_their_difference() {
    let mut state = adopted();
    let Some(Content::Segments(old)) = state.content.clone() else { panic!("a mirror") };
    let new = vec![segment("", Some("40"), "a"), segment("40", Some("80"), "c"), segment("80", None, "d")];
    let change = difference(&old, &new);
    assert_eq!(change.drop, Vec::<String>::new());
    let split = Record {
        added: vec![file("c"), file("d")],
        removed: vec!["b".to_owned()],
        segments: Some(change),
        ..record(3, RecordKind::Commit)
    };
    state.apply(&split).unwrap();
    assert_eq!(state.content, Some(Content::Segments(new.clone())));
    assert_eq!(
        state.retained,
        [Retained { path: "b".to_owned(), bytes: 10, replaced_ms: 3000, replaced_seq: 3, unshown_ms: None }]
    );
    assert_eq!(state.zero_dates["d"], 3);

    let merged = vec![segment("", None, "e")];
    let change = difference(&new, &merged);
    assert_eq!(change.drop, ["40", "80"]);
    let removed = vec!["a".to_owned(), "c".to_owned(), "d".to_owned()];
    let merge = Record { added: vec![file("e")], removed, segments: Some(change), ..record(4, RecordKind::Commit) };
    state.apply(&merge).unwrap();
    assert_eq!((state.committed().files, state.committed().rows, state.committed().bytes), (1, 2, 10));
    let forget = Record { forgotten: vec!["a".to_owned(), "b".to_owned()], ..record(5, RecordKind::Commit) };
    state.apply(&forget).unwrap();
    assert_eq!(state.retained.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["c", "d"]);
}

#[test]
fn what_cannot_follow_is_refused() {
    let commit = |change: fn(&mut Record)| {
        let mut record = record(3, RecordKind::Commit);
        change(&mut record);
        adopted().apply(&record).unwrap_err()
    };
    assert!(commit(|record| record.seq = 4).contains("record 4"));
    assert!(commit(|record| record.term = Term(4)).contains("term 4 behind term 5"));
    assert!(commit(|record| record.kind = RecordKind::Adopt).contains("second time"));
    assert!(commit(|record| record.kind = RecordKind::Switch).contains("no generation"));
    assert!(commit(|record| record.removed = vec!["x".to_owned()]).contains("not live"));
    assert!(commit(|record| record.added = vec![file("a")]).contains("live already"));
    assert!(commit(|record| record.added = vec![file("c")]).contains("disagree"));
    let gap = |record: &mut Record| {
        record.segments = Some(SegmentChange { drop: vec!["80".to_owned()], put: Vec::new() });
        record.removed = vec!["b".to_owned()];
    };
    assert!(commit(gap).contains("end at"));
    let early = Record { added: vec![file("a")], ..record(1, RecordKind::Commit) };
    assert!(State::new(1).apply(&early).unwrap_err().contains("before a snapshot"));
}

#[test]
fn nothing_follows_a_switch_and_a_lower_term_may_switch() {
    let mut state = adopted();
    let switch = Record { switch_to: Some(2), term: Term(1), ..record(3, RecordKind::Switch) };
    state.apply(&switch).unwrap();
    assert_eq!(state.switched, Some(Switched { generation: 2, at_ms: 3000 }));
    assert!(state.apply(&record(4, RecordKind::Commit)).unwrap_err().contains("behind the switch"));
}

#[test]
fn the_last_commits_with_changes_are_looked_back_on_and_a_checkpoint_keeps_them() {
    let mut state = adopted();
    for seq in 3..40 {
        // Every other one only moves the position.
        let rows = RowCounts { inserted: 1, updated: seq % 2, deleted: 0 };
        let rows = if seq % 2 == 1 { rows } else { RowCounts::default() };
        state.apply(&Record { rows, bytes_written: seq * 10, took_ms: seq, ..record(seq, RecordKind::Commit) }).unwrap();
    }
    let last = Effort { at_ms: 39_000, took_ms: 39, rows: 2, bytes: 390 };
    assert_eq!(state.recent.last(), Some(&last));
    assert_eq!(state.recent.first().map(|effort| effort.at_ms), Some(3_000));
    assert_eq!(state.recent.len(), 19);
    state.apply(&Record { rows: RowCounts { deleted: 1, ..RowCounts::default() }, ..record(40, RecordKind::Commit) }).unwrap();
    state.apply(&Record { rows: RowCounts { deleted: 1, ..RowCounts::default() }, ..record(41, RecordKind::Commit) }).unwrap();
    assert_eq!(state.recent.len(), LOOKED_BACK_ON);
    assert_eq!(state.recent.first().map(|effort| effort.at_ms), Some(5_000));
    let kept: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    assert_eq!(kept.committed().recent, state.recent);
}
