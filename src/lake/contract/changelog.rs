//! Changelog tables: every change a row, by day, in few files.

use super::*;

#[tokio::test]
async fn every_change_is_a_row_in_its_day() {
    for house in houses() {
        let spec = house.spec(TableKind::Changelog, 1);
        let chunks = vec![house.chunk(&spec, 0, "a", &[(1, "ann"), (2, "bob")]).await, house.chunk(&spec, 1, "a", &[]).await];
        assert_eq!(chunks[0].zero_dates["born"], 1);
        assert!(chunks[1].files.is_empty());
        let mut writer = house.lake.writer(spec, Term(1)).await.unwrap();
        writer.adopt(chunks, point(0, false)).await.unwrap();
        let changes = [
            (Change::Insert(3, "cy"), MIDNIGHT_MS - 1),
            (Change::Update((3, "cy"), "cyd"), MIDNIGHT_MS),
            (Change::Delete(2, "bob"), MIDNIGHT_MS - 1),
            (Change::Truncate, MIDNIGHT_MS + 24 * HOUR_MS),
        ];
        for (transaction, (change, committed_ms)) in (0..).zip(&changes) {
            put(writer.as_mut(), transaction, *committed_ms, change).unwrap();
        }
        assert_eq!(writer.buffered_changes(), 4);
        writer.commit(point(4, true)).await.unwrap();
        assert_eq!(writer.buffered_changes(), 0);

        let rows = house.lake.read_back(&name(), 1).await.unwrap();
        let shown = |row: &TextRow| ["_op", "_pos", "_row", "id", "name", "born", "dt"].map(|column| cell(row, column)).join(" ");
        let mut shown: Vec<String> = rows.iter().map(shown).collect();
        shown.sort();
        let expected = [
            "c 100 0 3 cy 2024-10-04 2026-11-21",
            "d 120 0 2 bob NULL 2026-11-21",
            "r 100 0 1 ann 2024-10-04 2026-11-22",
            "r 100 1 2 bob NULL 2026-11-22",
            "t 130 0 NULL NULL NULL 2026-11-23",
            "u 110 0 3 cyd 2024-10-04 2026-11-22",
        ];
        assert_eq!(shown, expected);
        let committed = writer.committed();
        assert_eq!((committed.files, committed.rows, committed.zero_dates["born"]), (4, 6, 2));
        let history = house.lake.history(&name(), 1).await.unwrap();
        let kinds: Vec<&str> = history.iter().map(|entry| entry.kind.as_str()).collect();
        assert_eq!(kinds, ["term", "adopt", "commit"]);
        assert_eq!(history[2].rows, (1, 1, 1));
        assert_eq!(house.lake.files(&name()).await.unwrap().len(), 4);
    }
}

#[tokio::test]
async fn a_batch_beyond_memory_is_one_file_that_grows_and_is_not_there_before_its_commit() {
    for house in houses() {
        let spec = house.spec(TableKind::Changelog, 1);
        let mut writer = house.lake.writer(spec, Term(1)).await.unwrap();
        writer.adopt(Vec::new(), point(0, true)).await.unwrap();
        let long = "x".repeat(1000);
        let mut most = 0;
        for transaction in 0..100 {
            put(writer.as_mut(), transaction, MIDNIGHT_MS, &Change::Insert(transaction as i64, &long)).unwrap();
            writer.relieve().await.unwrap();
            most = most.max(writer.buffered_bytes());
        }
        assert!(most <= house.settings.batch_bytes, "{most}");
        assert_eq!(house.rows(1).await.len(), 0);
        assert_eq!(writer.buffered_changes(), 100);
        writer.commit(point(100, true)).await.unwrap();
        let (files, bytes) = (writer.committed().files, writer.committed().bytes);
        assert!(files <= 1 + bytes / house.settings.file_bytes, "{files} files of {bytes} bytes");
        assert_eq!(house.rows(1).await.len(), 100);
    }
}

#[tokio::test]
async fn many_small_commits_leave_few_files_and_every_row_once() {
    for house in houses() {
        let spec = house.spec(TableKind::Changelog, 1);
        let chunks = vec![house.chunk(&spec, 0, "a", &[(-1, "old")]).await];
        let mut writer = house.lake.writer(spec, Term(1)).await.unwrap();
        writer.adopt(chunks, point(0, true)).await.unwrap();
        for transaction in 0..60 {
            let committed_ms = MIDNIGHT_MS + transaction * HOUR_MS;
            put(writer.as_mut(), transaction, committed_ms, &Change::Insert(transaction as i64, "new")).unwrap();
            writer.commit(point(transaction + 1, true)).await.unwrap();
        }
        assert!(writer.committed().files < 20, "{}", writer.committed().files);
        let rows = house.lake.read_back(&name(), 1).await.unwrap();
        assert_eq!(counted(&rows, "id").len(), 61);
        assert_eq!(rows.len(), 61);
        let days = counted(&rows, "dt");
        assert_eq!(
            days.into_iter().collect::<Vec<_>>(),
            [("2026-11-22".to_owned(), 25), ("2026-11-23".to_owned(), 24), ("2026-11-24".to_owned(), 12)]
        );
        house.clock.advance(25 * HOUR_MS);
        assert!(writer.maintain(&[]).await.unwrap().files_deleted > 30);
        assert_eq!(house.lake.read_back(&name(), 1).await.unwrap().len(), 61);
    }
}

#[tokio::test]
async fn a_change_without_its_row_is_refused() {
    let house = House::new(Ground::Memory);
    let mut writer = house.lake.writer(house.spec(TableKind::Changelog, 1), Term(1)).await.unwrap();
    let schema = RecordHead {
        operation: Operation::Schema,
        position: ChangePosition::default(),
        previous: None,
        term: Term(1),
        schema: String::new(),
        gtid: None,
        file: String::new(),
        committed_us: 0,
        statement: None,
    };
    assert!(writer.sink().begin(&schema, LogOffset(0), true).is_err());
    let delete = RecordHead { operation: Operation::Delete, ..schema };
    writer.sink().begin(&delete, LogOffset(0), true).unwrap();
    writer.sink().image(Image::After).unwrap();
    assert!(writer.sink().end().is_err());
}
