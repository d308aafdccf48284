//! XA transactions: their rows come with PREPARE, and count when, and if, COMMIT comes, which may be days later.
//!
//! A prepared group is kept as it came, all tables' rows: which of them are captured is decided at the commit, whose position
//! is the transaction's. After a restart the group is read again from where it stood.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::wire::fields::Fields;
use crate::source::{PreparedXa, Result};

use super::event::{Malformed, OrMalformed};
use super::spill::Store;

/// More open transactions than this are no application's.
const PREPARED_MAX: usize = 10_000;

/// A statement of XA, as the binlog writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum XaStatement {
    Start(String),
    End,
    Commit(String),
    Rollback(String),
}

impl XaStatement {
    /// Reads `XA verb X'…',X'…',n`; None for any other statement.
    pub(super) fn parse(sql: &str) -> Option<Self> {
        let rest = strip_keyword(sql.trim(), "XA")?;
        let (verb, xid) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let xid = canonical(xid);
        Some(match verb.to_ascii_uppercase().as_str() {
            "START" | "BEGIN" => Self::Start(xid),
            "END" => Self::End,
            "COMMIT" => Self::Commit(xid),
            "ROLLBACK" => Self::Rollback(xid),
            _ => return None,
        })
    }
}

fn strip_keyword<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let head = text.get(..keyword.len())?;
    let rest = text.get(keyword.len()..)?;
    (head.eq_ignore_ascii_case(keyword) && rest.starts_with(char::is_whitespace)).then(|| rest.trim_start())
}

/// One spelling for one xid: `X'31',X'',1`.
fn canonical(xid: &str) -> String {
    let mut text: String = xid.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    if !text.rsplit(',').next().is_some_and(|last| !last.is_empty() && !last.contains('\'')) {
        text.push_str(",1");
    }
    text.replace("x'", "X'")
}

/// The xid as the binlog prints it.
pub(super) fn xid_text(format: i64, global: &[u8], branch: &[u8]) -> String {
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("X'{}',X'{}',{format}", hexadecimal(global), hexadecimal(branch))
}

/// What an XA_prepare event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prepare {
    pub(super) xid: String,
    /// `XA COMMIT … ONE PHASE`: the transaction is committed at once.
    pub(super) one_phase: bool,
}

impl Prepare {
    /// Reads the body of an XA_prepare event.
    pub(super) fn parse(body: &[u8]) -> std::result::Result<Self, Malformed> {
        const WHAT: &str = "an XA_prepare event";
        let mut fields = Fields(body);
        let one_phase = fields.u8().or_malformed(WHAT)? != 0;
        let format = fields.array().map(i32::from_le_bytes).or_malformed(WHAT)?;
        let (global, branch) = fields.u32().zip(fields.u32()).or_malformed(WHAT)?;
        let global = fields.take(global as usize).or_malformed(WHAT)?;
        let branch = fields.take(branch as usize).or_malformed(WHAT)?;
        Ok(Self { xid: xid_text(i64::from(format), global, branch), one_phase })
    }
}

/// A prepared transaction.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) place: PreparedXa,
    /// Its events; None where it was prepared before the stream began, or changed nothing and is in no binlog. Its rows are then in no chunk either before it has ended,
    /// since the first read waits until no such transaction is open.
    pub(super) store: Option<Store>,
}

/// The prepared transactions by xid.
#[derive(Debug, Default)]
pub(super) struct PreparedTransactions {
    by_xid: BTreeMap<String, Prepared>,
}

impl PreparedTransactions {
    /// Keeps a transaction. What all of them hold in memory together stays below `memory_max`.
    pub(super) fn insert(&mut self, mut prepared: Prepared, memory_max: u64) -> Result<Option<Malformed>> {
        if self.by_xid.len() >= PREPARED_MAX {
            return Ok(Some(Malformed(format!("more than {PREPARED_MAX} XA transactions are prepared"))));
        }
        let in_memory = |store: &Store| if store.is_spilled() { 0 } else { store.len() };
        let held: u64 = self.by_xid.values().filter_map(|prepared| prepared.store.as_ref()).map(in_memory).sum();
        if let Some(store) = &mut prepared.store
            && !store.is_spilled()
            && held + store.len() > memory_max
        {
            store.spill()?;
        }
        self.by_xid.insert(prepared.place.xid.clone(), prepared);
        Ok(None)
    }

    pub(super) fn remove(&mut self, xid: &str) -> Option<Prepared> {
        self.by_xid.remove(xid)
    }

    /// Forgets those of them whose rows were never received.
    pub(super) fn forget(&mut self, xids: &BTreeSet<String>) {
        self.by_xid.retain(|xid, prepared| prepared.store.is_some() || !xids.contains(xid));
    }

    /// All of them, for the checkpoint.
    pub(super) fn places(&self) -> Vec<PreparedXa> {
        self.by_xid.values().map(|prepared| prepared.place.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_and_event_spell_an_xid_alike() {
        let Some(XaStatement::Commit(xid)) = XaStatement::parse("XA COMMIT X'7832',X'AB',1") else { panic!() };
        let mut body = vec![0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0];
        body.extend_from_slice(b"x2\xab");
        assert_eq!(Prepare::parse(&body).unwrap(), Prepare { xid, one_phase: false });
        assert!(Prepare::parse(&body[..15]).is_err());
        assert_eq!(XaStatement::parse("xa start X'31',X'',7"), Some(XaStatement::Start("X'31',X'',7".to_owned())));
        assert_eq!(XaStatement::parse("XANADU"), None);
        assert_eq!(XaStatement::parse("XA RECOVER"), None);
    }
}
