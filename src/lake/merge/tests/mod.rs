//! Random histories against an oracle: after every batch the files hold exactly the oracle's rows, in order, in well-formed segments.

use std::collections::HashSet;
use std::sync::Arc;

use super::*;
use crate::change::Value;
use crate::lake::datafile::StoredFile;
use crate::lake::keys::from_hex;
use crate::lake::{Check, Error};

mod world;

use world::{KINDS, Kind, World};

async fn history(kind: Kind, layout: Layout, seed: u64, batches: usize) -> World {
    history_of(World::new(kind, layout, seed), seed, batches).await
}

async fn history_of(mut world: World, seed: u64, batches: usize) -> World {
    let (kind, layout) = (world.kind, world.layout);
    let mut segments_seen = HashSet::new();
    for number in 0..batches {
        let mut batch = world.batch();
        let keys = 400 + 60 * number as u64;
        let changes = match world.random.below(4) {
            _ if number == 0 => 600,
            0 => 1 + world.random.below(5),
            1 => 500,
            _ => 1 + world.random.below(120),
        };
        let rows_before = world.oracle.len() as u64;
        for _ in 0..changes {
            if world.random.below(1500) == 0 {
                world.change(&mut batch, true, None, None).await;
                world.oracle.clear();
            }
            world.random_change(&mut batch, true, keys).await;
        }
        let merged = world.apply(batch).await.unwrap_or_else(|error| panic!("{kind:?} seed {seed} batch {number}: {error}"));
        assert_eq!(rows_before + merged.inserted - merged.deleted, world.oracle.len() as u64, "counts");
        world.check().await;
        world.check_sizes();
        segments_seen.insert(world.segments.len());
    }
    if layout == Layout::Segments {
        assert!(segments_seen.len() > 1, "{kind:?}: the history never split a segment");
    }
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_leave_exactly_the_rows_of_the_oracle() {
    // BINLAKE_SEEDS asks for more histories than the two a test run has time for.
    let seeds = std::env::var("BINLAKE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(2);
    for kind in KINDS {
        for seed in 0..seeds {
            history(kind, Layout::Segments, seed, 16).await;
        }
        history(kind, Layout::Single, 7, 8).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_of_mirrors_by_day_leave_each_row_in_its_day() {
    let seeds = std::env::var("BINLAKE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(2);
    for kind in KINDS {
        for seed in 0..seeds {
            let world = World::cut_by(Some("AT"), kind, Layout::Segments, seed);
            history_of(world, seed, 16).await;
        }
    }
}

#[tokio::test]
async fn a_table_that_is_emptied_and_filled_again_keeps_few_files() {
    let mut world = World::new(Kind::Text, Layout::Segments, 3);
    let mut batch = world.batch();
    for n in 0..1500 {
        let row = world.row(n);
        world.change(&mut batch, true, None, Some(&row)).await;
        world.oracle.insert(n, row);
    }
    world.apply(batch).await.unwrap();
    assert!(world.segments.len() > 3);
    let mut batch = world.batch();
    let rows: Vec<(u64, Vec<Value>)> = world.oracle.iter().map(|(n, row)| (*n, row.clone())).collect();
    for (n, row) in rows.iter().filter(|(n, _)| n % 50 != 0) {
        world.change(&mut batch, true, Some(row), None).await;
        world.oracle.remove(n);
    }
    world.apply(batch).await.unwrap();
    world.check().await;
    assert_eq!(world.segments.len(), 1, "what shrank goes together");
    let mut batch = world.batch();
    for (n, row) in rows.iter().filter(|(n, _)| n % 50 == 0) {
        world.change(&mut batch, true, Some(row), None).await;
        world.oracle.remove(n);
    }
    world.apply(batch).await.unwrap();
    assert_eq!(world.segments, Segment::empty_table());
    let mut batch = world.batch();
    for n in 0..2000 {
        let row = world.row(n);
        world.change(&mut batch, true, None, Some(&row)).await;
        world.oracle.insert(n, row);
    }
    world.apply(batch).await.unwrap();
    world.check().await;
    world.check_sizes();
}

#[tokio::test]
async fn a_segment_that_shrank_goes_together_with_a_small_neighbour_on_either_side() {
    for (first, second) in [(1, 2), (2, 1)] {
        let mut world = World::new(Kind::Int, Layout::Segments, 3);
        let mut batch = world.batch();
        for n in 0..1500 {
            let row = world.row(n);
            world.change(&mut batch, true, None, Some(&row)).await;
            world.oracle.insert(n, row);
        }
        world.apply(batch).await.unwrap();
        let segments = world.segments.len();
        assert!(segments > 3);
        world.shrink(first).await;
        assert_eq!(world.segments.len(), segments, "its neighbours are full");
        world.shrink(second).await;
        assert_eq!(world.segments.len(), segments - 1);
    }
}

#[tokio::test]
async fn small_appends_fill_and_seal_the_tail_and_touch_nothing_else() {
    let mut world = World::new(Kind::Int, Layout::Segments, 1);
    let mut sealed: Vec<FileEntry> = Vec::new();
    for number in 0..120_u64 {
        let mut batch = world.batch();
        for n in number * 10..number * 10 + 10 {
            let row = world.row(n);
            world.change(&mut batch, true, None, Some(&row)).await;
            world.oracle.insert(n, row);
        }
        let merged = world.apply(batch).await.unwrap();
        assert!(merged.removed.len() <= 1, "only the tail is rewritten");
        assert!(merged.removed.iter().all(|file| !sealed.contains(file)), "a sealed file is not touched");
        let files: Vec<FileEntry> = world.segments.iter().filter_map(|segment| segment.file.clone()).collect();
        sealed = files[..files.len() - 1].to_vec();
    }
    world.check().await;
    world.check_sizes();
    assert!(sealed.len() > 2);
    assert!(sealed.iter().all(|file| file.bytes > world.settings.file_bytes / 2), "sealed files are full");
}

#[tokio::test]
async fn a_change_of_one_row_copies_the_other_row_groups_byte_for_byte() {
    let mut world = World::new(Kind::Int, Layout::Single, 5);
    let mut batch = world.batch();
    for n in 0..600 {
        let row = world.row(n);
        world.change(&mut batch, true, None, Some(&row)).await;
        world.oracle.insert(n, row);
    }
    world.apply(batch).await.unwrap();
    let old = world.segments[0].file.clone().unwrap();
    let mut batch = world.batch();
    let (before, after) = (world.oracle[&300].clone(), world.row(300));
    world.change(&mut batch, true, Some(&before), Some(&after)).await;
    world.oracle.insert(300, after);
    world.apply(batch).await.unwrap();
    world.check().await;
    let new = world.segments[0].file.clone().unwrap();
    let prefix = Path::from("ods_shop/orders");
    let groups = |entry: FileEntry| {
        let (store, shape, prefix) = (Arc::clone(&world.store), world.shape.clone(), prefix.clone());
        async move {
            let file = StoredFile::open(&store, &prefix, &entry, &shape).await.unwrap();
            let mut bytes = Vec::new();
            for index in 0..file.row_groups() {
                bytes.push(file.row_group(index).await.unwrap().bytes_of_file().to_vec());
            }
            bytes
        }
    };
    let (old, new) = (groups(old).await, groups(new).await);
    assert_eq!(old.len(), new.len());
    assert!(old.len() > 5);
    assert_eq!(old.iter().zip(&new).filter(|(old, new)| old != new).count(), 1);
}

#[tokio::test]
async fn before_the_handoff_the_log_heals_whatever_the_snapshot_read() {
    for kind in KINDS {
        let mut world = World::new(kind, Layout::Segments, 11);
        // The snapshot saw some rows early, some late, some not at all: any state of the keys that change afterwards will do.
        let mut batch = world.batch();
        for n in (0..200).step_by(2) {
            let row = world.row(n);
            world.change(&mut batch, false, None, Some(&row)).await;
        }
        world.apply(batch).await.unwrap();
        let mut batch = world.batch();
        for n in 0..200 {
            let (old, new) = (world.row(n), world.row(n));
            match n % 4 {
                0 => world.change(&mut batch, false, None, Some(&new)).await,
                1 => world.change(&mut batch, false, Some(&old), Some(&new)).await,
                _ => world.change(&mut batch, false, Some(&old), None).await,
            }
            if n % 4 < 2 {
                world.oracle.insert(n, new);
            }
        }
        // From here on the mirror is exact, in the same batch too.
        for _ in 0..100 {
            world.random_change(&mut batch, true, 200).await;
        }
        world.apply(batch).await.unwrap();
        world.check().await;
    }
}

/// Rows that go from day to day, read by the snapshot at any moment of their history: the log, applied from the beginning, leaves the last one.
#[tokio::test]
async fn before_the_handoff_the_log_heals_rows_that_moved_to_another_day() {
    for kind in [Kind::Int, Kind::Text] {
        let mut world = World::cut_by(Some("at"), kind, Layout::Segments, 13);
        let (mut read, mut logged) = (Vec::new(), Vec::new());
        for n in 0..300 {
            let mut states: Vec<Option<Vec<Value>>> = Vec::new();
            for _ in 0..=world.random.below(5) {
                let there = world.random.below(4) > 0;
                states.push(there.then(|| world.row(n)));
            }
            let at = world.random.below(states.len() as u64) as usize;
            read.extend(states[at].clone());
            logged.extend(states.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())));
            world.oracle.extend(states.pop().flatten().map(|row| (n, row)));
        }
        let chunk = world.chunk("0", &read).await;
        world.adopt(&chunk).await;
        let mut batch = world.batch();
        for (before, after) in logged.iter().filter(|(before, after)| before.is_some() || after.is_some()) {
            world.change(&mut batch, false, before.as_deref(), after.as_deref()).await;
        }
        for _ in 0..100 {
            world.random_change(&mut batch, true, 300).await;
        }
        world.apply(batch).await.unwrap();
        world.check().await;
    }
}

/// The files of a day are written anew for changes of that day alone, and those of a new day for nothing but themselves.
#[tokio::test]
async fn a_day_without_changes_stays_as_it_is() {
    let mut world = World::cut_by(Some("at"), Kind::Int, Layout::Segments, 5);
    let day = |number: i64| Value::Datetime(1_700_000_000_000_000 + number * 86_400_000_000);
    let mut batch = world.batch();
    for n in 0..400 {
        let mut row = world.row(n);
        row[3] = day((n % 5 * 2) as i64);
        world.change(&mut batch, true, None, Some(&row)).await;
        world.oracle.insert(n, row);
    }
    world.apply(batch).await.unwrap();
    for (moved, to) in [(None, 11_i64), (None, 3), (None, -2), (Some(7), 4), (Some(9), 8), (Some(12), 20)] {
        let mut batch = world.batch();
        let n = moved.unwrap_or(1000 + to.unsigned_abs());
        let before = world.oracle.get(&n).cloned();
        let mut row = world.row(n);
        row[3] = day(to);
        let days: Vec<String> = before.iter().chain([&row]).map(|row| world.directory(&row[3])).collect();
        world.change(&mut batch, true, before.as_deref(), Some(&row)).await;
        world.oracle.insert(n, row);
        let merged = world.apply(batch).await.unwrap();
        world.check().await;
        assert!(!merged.added.is_empty());
        for file in merged.added.iter().chain(&merged.removed) {
            assert!(days.iter().any(|day| file.path.contains(day)), "{} for a change in {days:?}", file.path);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Plant {
    InsertOfPresent,
    UpdateOfAbsent,
    DeleteOfAbsent,
    UpdateOfOther,
    DeleteOfOther,
}

#[tokio::test]
async fn every_planted_divergence_is_found_in_the_base_and_inside_a_batch_spilled_or_not() {
    use Plant::*;
    for kind in [Kind::Int, Kind::Text] {
        for plant in [InsertOfPresent, UpdateOfAbsent, DeleteOfAbsent, UpdateOfOther, DeleteOfOther] {
            for inside in [false, true] {
                for spilled in [false, true] {
                    for check in [Check::Rows, Check::Keys] {
                        planted(kind, plant, inside, spilled, check).await;
                    }
                }
            }
        }
    }
}

async fn planted(kind: Kind, plant: Plant, inside: bool, spilled: bool, check: Check) {
    let mut world = World::new(kind, Layout::Segments, 23);
    world.settings.check = check;
    if !spilled {
        world.settings.batch_bytes = usize::MAX;
    }
    let mut batch = world.batch();
    for n in 0..300 {
        let row = world.row(n);
        world.change(&mut batch, true, None, Some(&row)).await;
        world.oracle.insert(n, row);
    }
    if !inside {
        world.apply(batch).await.unwrap();
        batch = world.batch();
    }
    for _ in 0..40 {
        world.random_change(&mut batch, true, 100).await;
    }
    let (there, gone) = (200, 1000);
    let row = world.oracle[&there].clone();
    let mut other = row.clone();
    let amount = other.len() - 3;
    other[amount] = Value::Double(if row[amount] == Value::Double(1.5) { 2.5 } else { 1.5 });
    let absent = world.row(gone);
    let found = match plant {
        Plant::InsertOfPresent => (None, Some(&row)),
        Plant::UpdateOfAbsent => (Some(&absent), Some(&absent)),
        Plant::DeleteOfAbsent => (Some(&absent), None),
        Plant::UpdateOfOther => (Some(&other), Some(&row)),
        Plant::DeleteOfOther => (Some(&other), None),
    };
    world.ordinal = 76;
    world.change_unrelieved(&mut batch, found.0.map(Vec::as_slice), found.1.map(Vec::as_slice));
    let outcome = match batch.relieve().await {
        Ok(()) => world.apply(batch).await.map(drop),
        Err(error) => Err(error),
    };
    let only_rows_differ = matches!(plant, Plant::UpdateOfOther | Plant::DeleteOfOther);
    match outcome {
        Err(Error::Divergence { position, key, expected, found, .. }) => {
            assert_eq!(position.ordinal, 77);
            assert!(key.starts_with("k0="), "{key}");
            let expects_row = !matches!(plant, Plant::InsertOfPresent);
            let finds_row = !matches!(plant, Plant::UpdateOfAbsent | Plant::DeleteOfAbsent);
            assert_eq!(expected != "no row", expects_row, "{expected}");
            assert_eq!(found != "no row", finds_row, "{found}");
            assert!(check == Check::Rows || !only_rows_differ);
        }
        Ok(()) => assert!(check == Check::Keys && only_rows_differ, "{kind:?} {plant:?} inside {inside} spilled {spilled}"),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn chunks_are_adopted_whether_they_overlap_or_not() {
    for (by_day, kind, chunk_rows, layout) in [
        (None, Kind::Int, 40, Layout::Segments),
        (None, Kind::Int, 900, Layout::Segments),
        (None, Kind::IntText, 70, Layout::Segments),
        (None, Kind::Text, 30, Layout::Segments),
        (None, Kind::Binary, 400, Layout::Segments),
        (None, Kind::Text, 100, Layout::Single),
        (None, Kind::Int, 100, Layout::Single),
        (Some("at"), Kind::Int, 40, Layout::Segments),
        (Some("at"), Kind::Int, 900, Layout::Segments),
        (Some("at"), Kind::Text, 100, Layout::Segments),
    ] {
        let mut world = World::cut_by(by_day, kind, layout, 31);
        let mut chunks = Vec::new();
        for number in 0..(1800 / chunk_rows) {
            let mut rows = Vec::new();
            for n in number * chunk_rows..(number + 1) * chunk_rows {
                let row = world.row(n);
                rows.push(row.clone());
                world.oracle.insert(n, row);
            }
            chunks.extend(world.chunk(&number.to_string(), &rows).await);
        }
        let empty = world.chunk("empty", &[]).await;
        let empty_files = empty.len();
        chunks.extend(empty);
        let merged = world.adopt(&chunks).await;
        assert_eq!(merged.inserted, world.oracle.len() as u64);
        world.check().await;
        if chunk_rows < 400 {
            world.check_sizes();
        }
        if kind == Kind::Int && chunk_rows == 900 {
            assert_eq!(merged.bytes_written, 0, "large files one behind the other stay");
        }
        // What no segment names is listed, and nothing else was left in the lake.
        use futures::TryStreamExt as _;
        let listed: Vec<_> = world.store.list(None).try_collect().await.unwrap();
        assert_eq!(listed.len(), merged.added.len() + merged.removed.len() + empty_files);
        for _ in 0..3 {
            let mut batch = world.batch();
            for _ in 0..150 {
                world.random_change(&mut batch, true, 2000).await;
            }
            world.apply(batch).await.unwrap();
            world.check().await;
        }
    }
}

#[tokio::test]
async fn a_key_in_two_chunks_is_one_row_that_of_the_later_chunk() {
    let mut world = World::new(Kind::Text, Layout::Segments, 37);
    let mut first: Vec<Vec<Value>> = Vec::new();
    for n in 0..100 {
        let row = world.row(n);
        first.push(row);
    }
    let mut second: Vec<Vec<Value>> = Vec::new();
    for n in 50..150 {
        let row = world.row(n);
        second.push(row);
    }
    for (n, row) in (0..100).zip(&first).chain((50..150).zip(&second)) {
        world.oracle.insert(n, row.clone());
    }
    let chunks = [world.chunk("a", &first).await, world.chunk("b", &second).await].concat();
    world.adopt(&chunks).await;
    world.check().await;
}

#[tokio::test]
async fn scratch_is_empty_when_a_batch_is_gone() {
    let mut world = World::new(Kind::Int, Layout::Segments, 41);
    for commits in [true, false] {
        let mut batch = world.batch();
        for n in 0..2000 {
            let row = world.row(n);
            let before = world.oracle.get(&n).cloned();
            world.change(&mut batch, true, before.as_deref(), Some(&row)).await;
            world.oracle.insert(n, row);
            assert!(batch.memory_bytes() <= world.settings.batch_bytes + 1024);
        }
        let runs = || std::fs::read_dir(world.settings.scratch.clone()).unwrap().count();
        assert_eq!(runs(), 1, "it spilled");
        if commits {
            world.apply(batch).await.unwrap();
            world.check().await;
        } else {
            drop(batch);
        }
        assert_eq!(std::fs::read_dir(&world.settings.scratch).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn segments_bounds_are_stored_keys() {
    let world = history(Kind::Decimal, Layout::Segments, 2, 10).await;
    assert!(world.segments.iter().all(|segment| from_hex(&segment.lower).is_some()));
    let text = serde_json::to_string(&world.segments).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Segment>>(&text).unwrap(), world.segments);
}
