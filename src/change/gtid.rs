//! GTIDs and exact sets of them: MySQL's intervals, gaps and tags kept as they are; MariaDB's last transaction of each domain.
//!
//! Sets are only partially ordered: there is `contains` and `subtract`, and no `<`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ParsePositionError;

/// One transaction's GTID: `uuid:number` or, tagged, `uuid:tag:number`; MariaDB's `domain-server-number`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid {
    /// `uuid` or `uuid:tag`, lower case; MariaDB's `domain-server`.
    pub origin: String,
    /// The transaction's number, from 1.
    pub number: u64,
}

impl Gtid {
    /// A GTID as MariaDB has them.
    pub fn of_domain(domain: u32, server: u32, number: u64) -> Self {
        Self { origin: format!("{domain}-{server}"), number }
    }

    /// Domain and server of one of MariaDB's.
    fn domain(&self) -> Option<(u32, u32)> {
        let (domain, server) = self.origin.split_once('-')?;
        Some((domain.parse().ok()?, server.parse().ok()?))
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.domain().is_some() { '-' } else { ':' };
        write!(f, "{}{sign}{}", self.origin, self.number)
    }
}

/// A set of GTIDs: sorted, disjoint, inclusive intervals per origin, and for MariaDB the last transaction of each domain, which
/// stands for all before it. Prints and parses in the server's notation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GtidSet {
    origins: BTreeMap<String, Vec<(u64, u64)>>,
    /// By domain: server and number.
    domains: BTreeMap<u32, (u32, u64)>,
}

impl GtidSet {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty() && self.domains.is_empty()
    }

    /// MariaDB's domains with the last transaction of each.
    pub fn domains(&self) -> impl Iterator<Item = (u32, Gtid)> + '_ {
        self.domains.iter().map(|(domain, (server, number))| (*domain, Gtid::of_domain(*domain, *server, *number)))
    }

    /// The origins (`uuid` or `uuid:tag`) with their inclusive intervals.
    pub fn intervals(&self) -> impl Iterator<Item = (&str, &[(u64, u64)])> {
        self.origins.iter().map(|(origin, intervals)| (origin.as_str(), intervals.as_slice()))
    }

    /// Adds one GTID. One of MariaDB's becomes its domain's last, whatever its number.
    pub fn insert(&mut self, gtid: &Gtid) {
        if let Some((domain, server)) = gtid.domain() {
            self.domains.insert(domain, (server, gtid.number));
            return;
        }
        self.insert_interval(&gtid.origin, gtid.number, gtid.number);
    }

    /// Adds `first..=last` of an origin.
    pub fn insert_interval(&mut self, origin: &str, first: u64, last: u64) {
        if last < first {
            return;
        }
        let intervals = match self.origins.get_mut(origin) {
            Some(intervals) => intervals,
            None => self.origins.entry(origin.to_ascii_lowercase()).or_default(),
        };
        // The usual case: the next number of the last interval.
        if let Some(tail) = intervals.last_mut()
            && tail.0 <= first
            && first <= tail.1.saturating_add(1)
        {
            tail.1 = tail.1.max(last);
            return;
        }
        intervals.push((first, last));
        intervals.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(intervals.len());
        for (first, last) in intervals.drain(..) {
            match merged.last_mut() {
                Some(tail) if first <= tail.1.saturating_add(1) => tail.1 = tail.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        *intervals = merged;
    }

    /// Adds all of `other`.
    pub fn union(&mut self, other: &Self) {
        for (origin, intervals) in &other.origins {
            for (first, last) in intervals {
                self.insert_interval(origin, *first, *last);
            }
        }
        for (domain, (server, number)) in &other.domains {
            let known = self.domains.entry(*domain).or_insert((*server, *number));
            if known.1 < *number {
                *known = (*server, *number);
            }
        }
    }

    /// Whether the GTID is in the set; of a domain of MariaDB's: whether the set has come to its number.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        if let Some((domain, _)) = gtid.domain() {
            return self.domains.get(&domain).is_some_and(|(_, last)| gtid.number <= *last);
        }
        self.origins
            .get(&gtid.origin)
            .is_some_and(|intervals| intervals.iter().any(|(first, last)| (*first..=*last).contains(&gtid.number)))
    }

    /// Whether every GTID of `other` is in this set.
    pub fn contains_set(&self, other: &Self) -> bool {
        other.subtract(self).is_empty()
    }

    /// What is in this set and not in `other`.
    pub fn subtract(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for (origin, intervals) in &self.origins {
            let holes: &[(u64, u64)] = other.origins.get(origin).map_or(&[], Vec::as_slice);
            for (first, last) in intervals {
                let mut next = *first;
                for (hole_first, hole_last) in holes {
                    if *hole_last < next || *hole_first > *last {
                        continue;
                    }
                    if *hole_first > next {
                        rest.insert_interval(origin, next, hole_first - 1);
                    }
                    next = hole_last.saturating_add(1);
                }
                if next <= *last {
                    rest.insert_interval(origin, next, *last);
                }
            }
        }
        for (_, gtid) in self.domains().filter(|(_, gtid)| !other.contains(gtid)) {
            rest.insert(&gtid);
        }
        rest
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first_origin = true;
        for (origin, intervals) in &self.origins {
            if !first_origin {
                f.write_str(",")?;
            }
            first_origin = false;
            f.write_str(origin)?;
            for (first, last) in intervals {
                if first == last {
                    write!(f, ":{first}")?;
                } else {
                    write!(f, ":{first}-{last}")?;
                }
            }
        }
        for (_, gtid) in self.domains() {
            let comma = if first_origin { "" } else { "," };
            first_origin = false;
            write!(f, "{comma}{gtid}")?;
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParsePositionError { text: text.to_owned(), what: "GTID set" };
        let mut set = Self::default();
        for origin_text in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if let Some(gtid) = domain_gtid(origin_text) {
                set.insert(&gtid);
                continue;
            }
            let mut parts = origin_text.split(':').map(str::trim);
            let uuid = parts.next().filter(|uuid| uuid.len() == 36).ok_or_else(fail)?.to_ascii_lowercase();
            let mut origin = uuid.clone();
            for part in parts {
                if part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                    origin = format!("{uuid}:{}", part.to_ascii_lowercase());
                    continue;
                }
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let first: u64 = first.parse().map_err(|_| fail())?;
                let last: u64 = last.parse().map_err(|_| fail())?;
                if first == 0 || last < first {
                    return Err(fail());
                }
                set.insert_interval(&origin, first, last);
            }
        }
        Ok(set)
    }
}

/// `domain-server-number`.
fn domain_gtid(text: &str) -> Option<Gtid> {
    let mut parts = text.split('-');
    let gtid = Gtid::of_domain(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(gtid)
}

impl Serialize for GtidSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GtidSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().unwrap()
    }

    #[test]
    fn sets_print_in_mysqls_notation_and_parse_back() {
        let text = format!("{A}:1-5:7:9-11,{A}:blue:1-2,{B}:1");
        assert_eq!(set(&text).to_string(), text);
        assert_eq!(set(&format!("{A}:1-5:7:9-11:blue:1-2,\n{B}:1")), set(&text));
    }

    #[test]
    fn gaps_stay_gaps_until_they_are_filled() {
        let mut holed = set(&format!("{A}:1-3:5-9"));
        assert!(!holed.contains_set(&set(&format!("{A}:4"))));
        assert_eq!(set(&format!("{A}:1-9")).subtract(&holed), set(&format!("{A}:4")));
        holed.insert(&Gtid { origin: A.to_owned(), number: 4 });
        assert_eq!(holed.to_string(), format!("{A}:1-9"));
    }

    #[test]
    fn a_tag_is_another_origin() {
        let tagged = set(&format!("{A}:blue:1-3"));
        assert!(!tagged.contains_set(&set(&format!("{A}:1"))));
        assert!(tagged.contains(&Gtid { origin: format!("{A}:blue"), number: 2 }));
    }

    #[test]
    fn subtraction_cuts_intervals_on_both_sides() {
        let rest = set(&format!("{A}:1-10,{B}:1-2")).subtract(&set(&format!("{A}:3-4:8-20")));
        assert_eq!(rest, set(&format!("{A}:1-2:5-7,{B}:1-2")));
    }

    #[test]
    fn a_domain_is_as_far_as_its_last_transaction() {
        let mut position = set("0-1-20,7-2-5");
        assert_eq!(position.to_string(), "0-1-20,7-2-5");
        assert!(position.contains_set(&set("0-3-20")) && !position.contains_set(&set("0-1-21")));
        assert_eq!(set("0-1-21,8-1-1,7-2-1").subtract(&position), set("0-1-21,8-1-1"));
        // A domain goes on at another server; what is last is what came last.
        position.insert(&Gtid::of_domain(0, 2, 19));
        assert_eq!(position.to_string(), "0-2-19,7-2-5");
        assert_eq!(Gtid::of_domain(0, 2, 19).to_string(), "0-2-19");
        assert_eq!(Gtid { origin: A.to_owned(), number: 7 }.to_string(), format!("{A}:7"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["x", "1-2", "1-2-3-4", &format!("{A}:0"), &format!("{A}:5-3"), &format!("{A}:1-x")] {
            assert!(text.parse::<GtidSet>().is_err(), "{text}");
        }
    }
}
