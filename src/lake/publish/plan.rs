//! Which partition shows which directory. Pure.
//!
//! The number of a partition has no meaning, so nothing has to be remembered: a partition that shows a live directory keeps it, every
//! live directory that is not shown takes a partition that shows none, and numbers are added or left over as it comes out.
//!
//! **Why there are spare ones.** Some engines ask for the partitions' names first and for all their directories a moment later (Trino 476: without
//! spare ones one of 394 sums that it read beside a commit every 200 ms lacked rows). What such a reader finds is one state as long as
//! that state uses no name that is younger than its list: so a number is there, on the empty directory, before it is needed, and a few
//! always are, where a table grows. One is added at the latest by the publication before that which uses it; where more are needed at
//! once, [`Plan::is_unforeseen`] says so. A reader that takes longer than that between its two questions may still lack rows.

use std::collections::{BTreeMap, BTreeSet};

use super::hive::{Directory, Wanted, canonical};
use crate::lake::metastore::{HiveColumn, Partition};

/// Spare partitions of a group that has so many others.
fn spares(partitions: usize) -> usize {
    4 + partitions / 8
}

/// What leads from the partitions that are there to those that are wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// New ones, on the empty directory: to be shown at once, or spare ones.
    pub(super) add: Vec<Partition>,
    /// Those that show something else from now on, the new ones among them. All at once.
    pub(super) alter: Vec<Partition>,
    /// Those that showed nothing before and show nothing now.
    pub(super) drop: Vec<Vec<String>>,
    /// Whether any of them goes to the empty directory.
    pub(super) needs_empty: bool,
    /// Whether one that is new is to show something: who has listed the names before does not know it.
    pub(super) is_unforeseen: bool,
}

/// A partition that shows a directory.
fn showing(values: Vec<String>, directory: &Directory, columns: &[HiveColumn]) -> Partition {
    let parameters = BTreeMap::from([
        ("numFiles".to_owned(), "1".to_owned()),
        ("numRows".to_owned(), directory.rows.to_string()),
        ("totalSize".to_owned(), directory.bytes.to_string()),
    ]);
    Partition { values, location: directory.location.clone(), columns: columns.to_vec(), parameters }
}

/// A partition that shows nothing.
fn on_empty(values: Vec<String>, empty: &str, columns: &[HiveColumn]) -> Partition {
    let zero = |key: &str| (key.to_owned(), "0".to_owned());
    let parameters = BTreeMap::from(["numFiles", "numRows", "totalSize"].map(zero));
    Partition { values, location: empty.to_owned(), columns: columns.to_vec(), parameters }
}

fn numbered(group: &[String], number: u64) -> Vec<String> {
    group.iter().cloned().chain([number.to_string()]).collect()
}

/// The partitions of a table that has none.
pub(super) fn fresh(wanted: &Wanted, columns: &[HiveColumn]) -> Vec<Partition> {
    let mut next: BTreeMap<&[String], usize> = wanted.only_group().map(|group| (group, 0)).into_iter().collect();
    let mut partitions = Vec::with_capacity(wanted.directories.len());
    for directory in &wanted.directories {
        let number = next.entry(directory.group.as_slice()).or_default();
        partitions.push(showing(numbered(&directory.group, *number as u64), directory, columns));
        *number += 1;
    }
    if let Some((group, from)) = next.last_key_value() {
        let spare = *from..from + spares(*from);
        partitions.extend(spare.map(|number| on_empty(numbered(group, number as u64), &wanted.spare, columns)));
    }
    partitions
}

/// The partitions of one group, and what they are to show.
#[derive(Default)]
struct Group<'a> {
    found: Vec<&'a Partition>,
    wanted: BTreeMap<String, &'a Directory>,
}

/// See the module.
pub(super) fn plan(wanted: &Wanted, columns: &[HiveColumn], found: &[Partition]) -> Plan {
    let only = wanted.only_group().map(|group| (group, Group::default()));
    let mut groups: BTreeMap<&[String], Group<'_>> = only.into_iter().collect();
    for partition in found {
        let group = partition.values.split_last().map_or(&[][..], |(_, group)| group);
        groups.entry(group).or_default().found.push(partition);
    }
    for directory in &wanted.directories {
        let group = groups.entry(directory.group.as_slice()).or_default();
        group.wanted.insert(canonical(&directory.location), directory);
    }
    let mut plan = Plan::default();
    // Where a table grows: a mirror anywhere, a changelog on its last day.
    let growing = groups.keys().next_back().copied();
    for (name, group) in groups {
        let spare = if Some(name) == growing { spares(group.wanted.len()) } else { 0 };
        plan_group(name, group, spare, (&wanted.spare, columns), &mut plan);
    }
    plan
}

fn plan_group(name: &[String], mut group: Group<'_>, spare: usize, (empty, columns): (&str, &[HiveColumn]), plan: &mut Plan) {
    let number = |partition: &Partition| partition.values.last().and_then(|number| number.parse::<u64>().ok());
    group.found.sort_by_key(|partition| (number(partition), &partition.values));
    let mut numbers: BTreeSet<u64> = group.found.iter().filter_map(|partition| number(partition)).collect();
    // Of two that show the same directory the first keeps it.
    let free: Vec<&Partition> =
        group.found.into_iter().filter(|partition| group.wanted.remove(&canonical(&partition.location)).is_none()).collect();
    let (mut left, mut idle) = (group.wanted.into_values(), 0);
    for partition in free {
        match left.next() {
            Some(directory) => plan.alter.push(showing(partition.values.clone(), directory, columns)),
            None if canonical(&partition.location) == canonical(empty) && idle >= 2 * spare => {
                plan.drop.push(partition.values.clone())
            }
            None => {
                idle += 1;
                if canonical(&partition.location) != canonical(empty) {
                    plan.needs_empty = true;
                    plan.alter.push(on_empty(partition.values.clone(), empty, columns));
                }
            }
        }
    }
    let mut next = 0;
    let mut unused = || {
        while !numbers.insert(next) {
            next += 1;
        }
        numbered(name, next)
    };
    for directory in left {
        let values = unused();
        plan.is_unforeseen = true;
        plan.add.push(on_empty(values.clone(), empty, columns));
        plan.alter.push(showing(values, directory, columns));
    }
    plan.add.extend((idle..spare).map(|_| on_empty(unused(), empty, columns)));
    plan.needs_empty |= !plan.add.is_empty();
}
