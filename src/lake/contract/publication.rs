//! What publication owes the readers of a metastore: at any moment they see a committed state, and no file that they may plan on goes.

use std::collections::BTreeSet;

use super::*;
use crate::lake::log::table_object;
use crate::lake::metastore::{
    Database, EXTERNAL, Error as MetastoreError, Fault, HiveColumn, MemoryMetastore, Metastore, PURGE, Table,
};
use crate::lake::publish::{canonical, hive_location};

/// A lake, a metastore, and every state that readers may see: the live directories of each commit.
struct Scene {
    house: House,
    metastore: MemoryMetastore,
    spec: TableSpec,
    states: Vec<BTreeSet<String>>,
}

impl Scene {
    fn new(kind: TableKind, layout: Layout, metastore: MemoryMetastore) -> Self {
        let mut house = House::with(Ground::Files, Some(Arc::new(Publishing::new(Arc::new(metastore.clone())))));
        house.settings.file_bytes = 2 << 10;
        house.settings.row_group_bytes = 600;
        house.lake = house.lake.with_settings(house.settings.clone());
        let spec = TableSpec { layout, ..house.spec(kind, 1) };
        Self { house, metastore, spec, states: Vec::new() }
    }

    async fn writer(&self, generation: u32, term: u64) -> Box<dyn TableWriter> {
        let spec = TableSpec { generation, ..self.spec.clone() };
        self.house.lake.writer(spec, Term(term)).await.unwrap()
    }

    /// A first state with rows 0 to `rows`, live.
    async fn begin(&mut self, rows: i64) -> Box<dyn TableWriter> {
        let rows: Vec<(i64, &str)> = (0..rows).map(|id| (id, "some text that takes its place")).collect();
        let chunk = self.house.chunk(&self.spec, 0, "a", &rows).await;
        let mut writer = self.writer(self.spec.generation, 1).await;
        writer.adopt(vec![chunk], point(0, true)).await.unwrap();
        self.note().await;
        writer
    }

    /// Remembers what is live as a state that readers may see.
    async fn note(&mut self) {
        let state = crate::lake::log::generations::live(self.house.lake.store(), &name()).await.unwrap().state.unwrap().unwrap();
        let directory = |path: &String| {
            let directory = path.rsplit_once('/').unwrap().0;
            canonical(&hive_location(self.house.lake.store(), &table_object(&name(), directory)))
        };
        self.states.push(state.files().iter().map(|file| directory(&file.path)).collect());
    }

    async fn insert(&mut self, writer: &mut dyn TableWriter, transaction: u64) {
        put(writer, transaction, MIDNIGHT_MS, &Change::Insert(1_000 + transaction as i64, "some text that takes its place"))
            .unwrap();
        writer.commit(point(transaction + 1, true)).await.unwrap();
        self.note().await;
    }

    async fn publish(&self) -> Result<()> {
        self.house.lake.publish(&self.spec).await
    }

    async fn table(&self) -> Table {
        self.metastore.table(&name()).await.unwrap().unwrap()
    }

    /// What readers of the metastore see now.
    async fn seen(&self) -> BTreeSet<String> {
        let table = self.table().await;
        let mut seen: Vec<String> = vec![table.location];
        if !table.partitioned_by.is_empty() {
            seen = self.metastore.partitions(&name()).await.unwrap().into_iter().map(|partition| partition.location).collect();
        }
        full(&seen)
    }

    /// Every state that readers could ever see was a committed one; and how many different ones there were.
    fn check_history(&self) -> usize {
        let mut seen = BTreeSet::new();
        for (call, sights) in self.metastore.calls() {
            let Some(sight) = sights.get(&name()) else { continue };
            let sight = full(sight);
            assert!(self.states.contains(&sight), "behind {call} readers see {sight:?}, which was never committed");
            seen.insert(sight);
        }
        seen.len()
    }
}

/// The directories that hold something, each once or not at all.
fn full(directories: &[String]) -> BTreeSet<String> {
    let full: Vec<String> = directories
        .iter()
        .filter(|place| !place.ends_with("/empty") && !place.ends_with("/spare"))
        .map(|place| canonical(place))
        .collect();
    let set: BTreeSet<String> = full.iter().cloned().collect();
    assert_eq!(set.len(), full.len(), "two partitions share a directory: {full:?}");
    set
}

fn kinds() -> [(TableKind, Layout); 3] {
    [(TableKind::Mirror, Layout::Single), (TableKind::Mirror, Layout::Segments), (TableKind::Changelog, Layout::Segments)]
}

/// The kinds, and a mirror that is cut by days.
fn kinds_and_days() -> impl Iterator<Item = (TableKind, Layout, Option<String>)> {
    let by_day = (TableKind::Mirror, Layout::Segments, Some("born".to_owned()));
    kinds().into_iter().map(|(kind, layout)| (kind, layout, None)).chain([by_day])
}

fn value<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.parameters.get(key).map(String::as_str)
}

#[tokio::test]
async fn whatever_is_committed_is_shown_and_nothing_else_ever_is() {
    for (kind, layout, partition_by) in kinds_and_days() {
        for metastore in [MemoryMetastore::new(), MemoryMetastore::careless()] {
            let mut scene = Scene::new(kind, layout, metastore);
            scene.spec.partition_by.clone_from(&partition_by);
            let mut writer = scene.begin(300).await;
            scene.publish().await.unwrap();
            for transaction in 0..60 {
                scene.insert(writer.as_mut(), transaction).await;
                // Now and then several commits come before one publication.
                if transaction % 7 < 5 {
                    // An answer is lost, or a call, anywhere; then it is done again.
                    let fault = [Fault::None, Fault::Refused, Fault::AnswerLost][transaction as usize % 3];
                    scene.metastore.fail_next(std::iter::repeat_n(Fault::None, transaction as usize / 3 % 5).chain([fault]));
                    while scene.publish().await.is_err() {}
                    assert_eq!(Some(&scene.seen().await), scene.states.last());
                }
            }
            scene.publish().await.unwrap();
            assert!(scene.check_history() > 30);
            let published = scene.house.lake.published(&name()).await.unwrap().unwrap();
            let table = scene.table().await;
            assert_eq!(value(&table, "numRows"), Some(published.rows.to_string().as_str()));
            assert_eq!(value(&table, "totalSize"), Some(published.bytes.to_string().as_str()));
            assert_eq!(value(&table, "numFiles"), Some(published.files.to_string().as_str()));
            assert_eq!(value(&table, "binlake.seq"), Some(format!("g0001/t1/{}", published.seq).as_str()));
            assert_eq!(value(&table, "binlake.position"), Some("0:binlog.000001:700"));
            assert_eq!(
                (value(&table, EXTERNAL), value(&table, PURGE), value(&table, "binlake.unfinished")),
                (Some("TRUE"), None, None)
            );
            let calls = scene.metastore.calls().len();
            scene.publish().await.unwrap();
            scene.publish().await.unwrap();
            assert!(scene.metastore.calls().len() <= calls + 16, "what is shown already is left alone");
        }
    }
}

/// An engine may list the names first and ask for their directories later. A commit uses names that were there before it.
#[tokio::test(start_paused = true)]
async fn who_has_listed_the_names_before_a_commit_finds_all_of_it_behind() {
    for kind in [TableKind::Mirror, TableKind::Changelog] {
        let mut scene = Scene::new(kind, Layout::Segments, MemoryMetastore::new());
        let mut writer = scene.begin(300).await;
        scene.publish().await.unwrap();
        let (mut most, begun) = (0, tokio::time::Instant::now());
        for transaction in 0..60 {
            let names: BTreeSet<Vec<String>> =
                scene.metastore.partitions(&name()).await.unwrap().into_iter().map(|partition| partition.values).collect();
            scene.insert(writer.as_mut(), transaction).await;
            scene.publish().await.unwrap();
            let partitions = scene.metastore.partitions(&name()).await.unwrap();
            let found: Vec<String> =
                partitions.iter().filter(|found| names.contains(&found.values)).map(|found| found.location.clone()).collect();
            assert_eq!(Some(&full(&found)), scene.states.last(), "{kind:?}, behind transaction {transaction}");
            let spare = partitions.len() - scene.seen().await.len();
            assert!((4..=24).contains(&spare), "{spare} partitions show nothing");
            most = most.max(scene.seen().await.len());
        }
        assert!(most > 2, "{kind:?} has {most} files at most");
        assert!(begun.elapsed() < Duration::from_secs(1), "every name was there before it was needed");
    }
}

/// A rebuild to many more files: their names are there for a while before they show anything.
#[tokio::test(start_paused = true)]
async fn names_that_nobody_foresaw_are_known_for_a_while_before_they_are_used() {
    let mut scene = Scene::new(TableKind::Mirror, Layout::Segments, MemoryMetastore::new());
    drop(scene.begin(10).await);
    scene.publish().await.unwrap();
    scene.spec = TableSpec { generation: 2, ..scene.spec.clone() };
    let rows: Vec<(i64, &str)> = (0..3000).map(|id| (id, "some text that takes its place")).collect();
    let chunk = scene.house.chunk(&scene.spec, 0, "a", &rows).await;
    let mut new = scene.writer(2, 1).await;
    new.adopt(vec![chunk], point(0, true)).await.unwrap();
    for transaction in 0..40 {
        // Splits.
        put(
            new.as_mut(),
            transaction,
            MIDNIGHT_MS,
            &Change::Insert(10_000 + transaction as i64, "some text that takes its place"),
        )
        .unwrap();
        new.commit(point(transaction + 1, true)).await.unwrap();
    }
    scene.note().await;
    let begun = tokio::time::Instant::now();
    scene.publish().await.unwrap();
    assert!(scene.seen().await.len() > 8 && begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    scene.check_history();
}

#[tokio::test]
async fn a_table_is_published_when_it_is_exact_and_not_before() {
    let mut scene = Scene::new(TableKind::Mirror, Layout::Segments, MemoryMetastore::new());
    let chunk = scene.house.chunk(&scene.spec, 0, "a", &[(1, "ann")]).await;
    let mut writer = scene.writer(1, 1).await;
    writer.adopt(vec![chunk], point(0, false)).await.unwrap();
    scene.publish().await.unwrap();
    assert!(scene.metastore.calls().is_empty());
    writer.commit(point(1, true)).await.unwrap();
    scene.note().await;
    scene.publish().await.unwrap();
    assert_eq!(Some(&scene.seen().await), scene.states.last());
}

#[tokio::test]
async fn an_empty_table_shows_no_rows_and_fills() {
    for (kind, layout) in kinds() {
        let mut scene = Scene::new(kind, layout, MemoryMetastore::new());
        let mut writer = scene.writer(1, 1).await;
        writer.adopt(Vec::new(), point(0, true)).await.unwrap();
        scene.note().await;
        scene.publish().await.unwrap();
        assert!(scene.seen().await.is_empty());
        scene.insert(writer.as_mut(), 0).await;
        scene.publish().await.unwrap();
        assert_eq!(scene.seen().await.len(), 1);
        put(writer.as_mut(), 1, MIDNIGHT_MS, &Change::Truncate).unwrap();
        writer.commit(point(2, true)).await.unwrap();
        scene.note().await;
        scene.publish().await.unwrap();
        assert_eq!(Some(&scene.seen().await), scene.states.last());
        scene.check_history();
    }
}

#[tokio::test]
async fn readers_are_sent_to_a_rebuilt_table_at_once() {
    for (kind, layout) in kinds() {
        let mut scene = Scene::new(kind, layout, MemoryMetastore::new());
        let mut old = scene.begin(200).await;
        scene.publish().await.unwrap();
        scene.insert(old.as_mut(), 0).await;
        scene.publish().await.unwrap();
        let spec = TableSpec { generation: 2, ..scene.spec.clone() };
        let rows: Vec<(i64, &str)> = (0..40).map(|id| (id, "rebuilt")).collect();
        let chunk = scene.house.chunk(&spec, 0, "a", &rows).await;
        let mut new = scene.writer(2, 1).await;
        new.adopt(vec![chunk], point(0, false)).await.unwrap();
        scene.house.lake.publish(&spec).await.unwrap();
        assert_eq!(Some(&scene.seen().await), scene.states.last(), "it is not exact yet");
        new.commit(point(1, true)).await.unwrap();
        scene.note().await;
        let before = scene.metastore.calls().len();
        scene.publish().await.unwrap();
        assert_eq!(scene.metastore.calls().len(), before, "a generation that was replaced publishes no more");
        scene.spec = spec;
        scene.publish().await.unwrap();
        assert_eq!(Some(&scene.seen().await), scene.states.last());
        scene.check_history();
        assert!(value(&scene.table().await, "binlake.seq").unwrap().starts_with("g0002/t1/"));
        assert!(scene.metastore.calls().iter().all(|(call, _)| *call != "drop_table"), "one step");
    }
}

#[tokio::test]
async fn another_layout_or_columns_that_cannot_follow_make_the_table_anew() {
    for (kind, layout, table_type) in [
        (TableKind::Mirror, Layout::Single, ColumnType::Text { charset: Charset("utf8mb4".to_owned()) }),
        (TableKind::Mirror, Layout::Segments, ColumnType::Date),
    ] {
        let mut scene = Scene::new(TableKind::Mirror, Layout::Segments, MemoryMetastore::new());
        drop(scene.begin(200).await);
        scene.publish().await.unwrap();
        let mut schema = (*scene.spec.schema).clone();
        schema.columns[1].kind = table_type;
        scene.spec = TableSpec { kind, layout, generation: 2, schema: Arc::new(schema), ..scene.spec.clone() };
        let mut new = scene.writer(2, 1).await;
        new.adopt(Vec::new(), point(0, true)).await.unwrap();
        scene.note().await;
        // Killed anywhere on the way.
        for calls in 0..5 {
            scene.metastore.fail_next(std::iter::repeat_n(Fault::None, calls).chain([Fault::Refused]));
            assert!(scene.publish().await.is_err() || calls == 4);
        }
        scene.publish().await.unwrap();
        assert_eq!(Some(&scene.seen().await), scene.states.last());
        assert_eq!(scene.table().await.partitioned_by.is_empty(), layout == Layout::Single);
        let left: Vec<_> = scene.metastore.calls().pop().unwrap().1.into_keys().collect();
        assert_eq!(left, [name()], "nothing is left over");
    }
}

#[tokio::test]
async fn a_new_column_comes_last_and_comments_stay() {
    for layout in [Layout::Single, Layout::Segments] {
        let mut scene = Scene::new(TableKind::Mirror, layout, MemoryMetastore::new());
        drop(scene.begin(20).await);
        scene.publish().await.unwrap();
        let mut commented = scene.table().await;
        commented.columns[1].comment = Some("what it is called".to_owned());
        commented.parameters.insert("owner.team".to_owned(), "school".to_owned());
        commented.parameters.insert("COLUMN_STATS_ACCURATE".to_owned(), "true".to_owned());
        scene.metastore.alter_table(&name(), &commented, None).await.unwrap();
        let mut schema = (*scene.spec.schema).clone();
        let new =
            Column { name: "age".to_owned(), kind: ColumnType::Integer { bits: 8, unsigned: true }, ..schema.columns[0].clone() };
        schema.columns.insert(0, new);
        schema.key = vec![1];
        scene.spec = TableSpec { generation: 2, schema: Arc::new(schema), ..scene.spec.clone() };
        let mut writer = scene.writer(2, 1).await;
        writer.adopt(Vec::new(), point(0, true)).await.unwrap();
        scene.publish().await.unwrap();
        let table = scene.table().await;
        let columns: Vec<String> = table.columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
        assert_eq!(columns, ["id bigint", "name string", "born date", "age smallint"]);
        assert_eq!(table.columns[1].comment.as_deref(), Some("what it is called"));
        assert_eq!((value(&table, "owner.team"), value(&table, "COLUMN_STATS_ACCURATE")), (Some("school"), None));
    }
}

#[tokio::test]
async fn a_table_of_somebody_else_or_changed_by_hand_is_refused_and_left_as_it_is() {
    type Edit = fn(&mut Table);
    let edits: [Edit; 8] = [
        |table| drop(table.parameters.remove("binlake.table")),
        |table| drop(table.parameters.insert("binlake.table".to_owned(), "file:/elsewhere/ods_shop/users".to_owned())),
        |table| table.location = "file:/elsewhere".to_owned(),
        |table| table.columns.push(HiveColumn { name: "own".to_owned(), data_type: "int".to_owned(), comment: None }),
        |table| table.columns[1].name = "renamed".to_owned(),
        |table| table.format.serde = "org.example.OtherSerDe".to_owned(),
        |table| drop(table.parameters.insert(PURGE.to_owned(), "TRUE".to_owned())),
        |table| drop(table.parameters.remove(EXTERNAL)),
    ];
    for edit in edits {
        let mut scene = Scene::new(TableKind::Mirror, Layout::Segments, MemoryMetastore::new());
        let mut writer = scene.begin(20).await;
        scene.publish().await.unwrap();
        let mut edited = scene.table().await;
        edit(&mut edited);
        scene.metastore.alter_table(&name(), &edited, None).await.unwrap();
        let edited = scene.table().await;
        scene.insert(writer.as_mut(), 0).await;
        let refused = scene.publish().await;
        assert!(matches!(&refused, Err(Error::Publication { remedy, .. }) if remedy.contains("ods_shop.users")), "{refused:?}");
        assert_eq!(scene.table().await, edited);
        let standing = scene.house.lake.publication(&name()).await.unwrap().unwrap();
        assert!(standing.refusal.is_some() && standing.shown.is_none(), "{standing:?}");
        // Once it is out of the way everything goes on by itself.
        scene.metastore.drop_table(&name()).await.unwrap();
        scene.publish().await.unwrap();
        assert_eq!(Some(&scene.seen().await), scene.states.last());
    }
}

#[tokio::test]
async fn a_partition_that_shows_something_else_is_refused_and_an_old_one_is_mended() {
    let mut scene = Scene::new(TableKind::Mirror, Layout::Segments, MemoryMetastore::new());
    let mut writer = scene.begin(300).await;
    scene.publish().await.unwrap();
    let old = scene.metastore.partitions(&name()).await.unwrap();
    scene.insert(writer.as_mut(), 0).await;
    scene.publish().await.unwrap();
    // A daemon that was overtaken sent this long ago.
    scene.metastore.alter_partitions(&name(), &scene.table().await.format, &old).await.unwrap();
    assert_ne!(Some(&scene.seen().await), scene.states.last());
    scene.publish().await.unwrap();
    assert_eq!(Some(&scene.seen().await), scene.states.last());
    let mut foreign = old[0].clone();
    foreign.location = "file:/elsewhere".to_owned();
    scene.metastore.alter_partitions(&name(), &scene.table().await.format, &[foreign]).await.unwrap();
    assert!(matches!(scene.publish().await, Err(Error::Publication { .. })));
}

#[tokio::test]
async fn a_database_above_the_tables_is_refused() {
    let mut scene = Scene::new(TableKind::Mirror, Layout::Segments, MemoryMetastore::new());
    drop(scene.begin(5).await);
    let location = scene.house.settings.url.clone();
    scene.metastore.create_database(&Database { name: "ods_shop".to_owned(), location: location.clone() }).await.unwrap();
    let remarks = scene.house.lake.check_metastore(&["ods_shop".to_owned()]).await;
    assert!(remarks.iter().any(|remark| remark.subject == "database" && remark.remedy.is_some()), "{remarks:?}");
    assert!(matches!(scene.publish().await, Err(Error::Publication { .. })));
    scene.metastore.drop_database("ods_shop").await.unwrap();
    scene.publish().await.unwrap();
    let made = scene.metastore.database("ods_shop").await.unwrap().unwrap();
    assert_eq!(canonical(&made.location), canonical(&format!("{location}/_databases/ods_shop")));
}

#[tokio::test]
async fn a_check_says_whether_values_are_compared_and_leaves_nothing() {
    for (metastore, word) in [(MemoryMetastore::new(), "refused"), (MemoryMetastore::careless(), "takes")] {
        let scene = Scene::new(TableKind::Mirror, Layout::Segments, metastore);
        let remarks = scene.house.lake.check_metastore(&["ods_shop".to_owned()]).await;
        let compared = remarks.iter().find(|remark| remark.subject == "compare and swap").unwrap();
        assert!(compared.message.contains(word), "{remarks:?}");
        let (last, sights) = scene.metastore.calls().pop().unwrap();
        assert_eq!((last, sights.len()), ("drop_database", 0));
    }
}

#[tokio::test]
async fn a_publication_of_an_older_view_never_overwrites_a_newer_one() {
    let mut scene = Scene::new(TableKind::Mirror, Layout::Single, MemoryMetastore::new());
    let mut writer = scene.begin(20).await;
    scene.publish().await.unwrap();
    let mut ahead = scene.table().await;
    ahead.parameters.insert("binlake.seq".to_owned(), "g0001/t9/999".to_owned());
    scene.metastore.alter_table(&name(), &ahead, None).await.unwrap();
    scene.insert(writer.as_mut(), 0).await;
    assert!(matches!(scene.publish().await, Err(Error::Metastore(MetastoreError::Modified { .. }))));
    assert_eq!(scene.table().await, ahead);
}

#[tokio::test]
async fn while_publication_lags_nothing_is_deleted_and_a_files_time_begins_when_it_caught_up() {
    for (kind, layout) in [(TableKind::Mirror, Layout::Single), (TableKind::Mirror, Layout::Segments)] {
        let mut scene = Scene::new(kind, layout, MemoryMetastore::new());
        let mut writer = scene.begin(20).await;
        scene.publish().await.unwrap();
        scene.metastore.set_away(true);
        scene.insert(writer.as_mut(), 0).await;
        assert!(scene.publish().await.is_err());
        scene.house.clock.advance(48 * HOUR_MS);
        assert_eq!(writer.maintain(&[]).await.unwrap().files_deleted, 0, "readers are still sent there");
        scene.metastore.set_away(false);
        assert_eq!(writer.maintain(&[]).await.unwrap().files_deleted, 0, "the metastore is back, and has not followed");
        scene.publish().await.unwrap();
        assert_eq!(writer.maintain(&[]).await.unwrap().files_deleted, 0, "who planned right before has its time");
        scene.house.clock.advance(23 * HOUR_MS);
        assert_eq!(writer.maintain(&[]).await.unwrap().files_deleted, 0);
        // The time outlives the process: it is in the log.
        scene.insert(writer.as_mut(), 1).await;
        let forgotten = Arc::new(Publishing::new(Arc::new(scene.metastore.clone())));
        let settings = Settings { publishing: Some(forgotten), ..scene.house.settings.clone() };
        let lake = scene.house.lake.with_settings(settings);
        drop(writer);
        let mut writer = lake.writer(scene.spec.clone(), Term(2)).await.unwrap();
        scene.house.clock.advance(2 * HOUR_MS);
        scene.metastore.set_away(true);
        assert_eq!(writer.maintain(&[]).await.unwrap().files_deleted, 0, "nobody says what is shown");
        scene.metastore.set_away(false);
        assert_eq!(writer.maintain(&[]).await.unwrap().files_deleted, 1);
    }
}

#[tokio::test]
async fn what_the_metastore_names_stays_whatever_its_age() {
    let mut scene = Scene::new(TableKind::Mirror, Layout::Segments, MemoryMetastore::new());
    let mut writer = scene.begin(20).await;
    scene.publish().await.unwrap();
    let old = scene.metastore.partitions(&name()).await.unwrap();
    scene.insert(writer.as_mut(), 0).await;
    scene.publish().await.unwrap();
    scene.house.clock.advance(48 * HOUR_MS);
    scene.metastore.alter_partitions(&name(), &scene.table().await.format, &old).await.unwrap();
    assert_eq!(writer.maintain(&[]).await.unwrap().files_deleted, 0);
    scene.publish().await.unwrap();
    assert_eq!(writer.maintain(&[]).await.unwrap().files_deleted, 1);
}

#[tokio::test]
async fn an_older_generation_stays_until_readers_of_the_metastore_have_left_it() {
    let mut scene = Scene::new(TableKind::Mirror, Layout::Segments, MemoryMetastore::new());
    drop(scene.begin(20).await);
    scene.publish().await.unwrap();
    scene.spec = TableSpec { generation: 2, ..scene.spec.clone() };
    let mut new = scene.writer(2, 1).await;
    new.adopt(Vec::new(), point(0, true)).await.unwrap();
    scene.house.clock.advance(48 * HOUR_MS);
    assert_eq!(new.maintain(&[]).await.unwrap().files_deleted, 0);
    scene.publish().await.unwrap();
    scene.house.clock.advance(HOUR_MS / 2);
    assert_eq!(new.maintain(&[]).await.unwrap().files_deleted, 0);
    scene.house.clock.advance(48 * HOUR_MS);
    assert!(new.maintain(&[]).await.unwrap().files_deleted > 0);
}

#[tokio::test]
async fn status_says_how_far_and_since_when() {
    let mut scene = Scene::new(TableKind::Mirror, Layout::Segments, MemoryMetastore::new());
    let mut writer = scene.begin(20).await;
    let standing = scene.house.lake.publication(&name()).await.unwrap().unwrap();
    assert_eq!((standing.shown, standing.behind), (None, None));
    scene.publish().await.unwrap();
    scene.house.clock.advance(1000);
    scene.insert(writer.as_mut(), 0).await;
    scene.house.clock.advance(1000);
    scene.insert(writer.as_mut(), 1).await;
    let standing = scene.house.lake.publication(&name()).await.unwrap().unwrap();
    assert_eq!((standing.shown.as_deref(), standing.live.as_deref()), (Some("g0001/t1/2"), Some("g0001/t1/4")));
    assert_eq!((standing.behind, standing.behind_since_ms), (Some(2), Some(MIDNIGHT_MS + 1000)));
}
